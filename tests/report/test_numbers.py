"""Numbers on pages: no interval that was not measured, none finer than its mean, no exponent of a percentage."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.claims import statistics
from benchmark.claims.evidence import Item, Scale
from benchmark.claims.observations import Observations
from benchmark.claims.wording import MINUS, metric_words, value_on_scale, window_on_scale
from benchmark.protocols import load
from benchmark.report.analysis_tables import spread_of
from benchmark.report.board.protocol_pages import column_text, percent_text, protocol_page
from benchmark.report.svg import lowered

MNIST1D = load("mnist1d/mlp")
BOARD = Path(__file__).parents[2] / "docs" / "board"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([800.0, 800.0], "800, identical in all seeds (2)"),
        ([0.0, 0.0, 0.0], "0, identical in all seeds (3)"),
        ([0.1 + 0.2, 0.3], "0.3, identical in all seeds (2)"),
        ([1.0, 2.0, 3.0], "2 ± 2.5 (3)"),  # t = 4.303, se = 1 / sqrt(3)
        ([57.6, 57.60001, 57.60002], "57.6 ± <0.01 (3)"),
        ([1e-13, 2e-13, 3e-13], f"2e{MINUS}13 ± 2.5e{MINUS}13 (3)"),
        ([5.0], "5 (1)"),
    ],
)
def test_a_cell_shows_what_was_measured(values: list[float], text: str) -> None:
    assert spread_of(statistics.estimate(values), 0.05) == text


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ("analysed", "+3 dB, identical in all seeds"),
        ("points", "+3.00 points, identical in all seeds"),
        ("slope", "3.00, identical in all seeds"),
    ],
)
def test_where_all_seeds_agree_no_interval_of_the_grid_is_printed(scale: Scale, words: str) -> None:
    def item(*values: float) -> Item:
        return Item("", statistics.shifted(statistics.estimate([*values], resolution=0.5), 1.0), 0.0, 9.0, unit="dB")

    assert value_on_scale(item(2.0, 2.0, 2.0), scale, 0.05) == words
    constant, known = statistics.Estimate(1.0, 0.0, 1.0, 1), statistics.known(1.0, 0.1, 3)
    same = statistics.estimate([2.0, 2.0], resolution=0.5)
    assert statistics.difference(same, constant).identical
    assert not statistics.difference(same, known).identical, "the interval is the published one"
    assert "[" in value_on_scale(item(1.9, 2.0, 2.1), scale, 0.05)


@pytest.mark.parametrize(
    ("scale", "unit", "words"),
    [
        ("points", "percent", "93.00 % [90.52, 95.48]; needs more than 99 %"),
        ("analysed", "percent", "93 % [90.52, 95.48]; needs more than 99 %"),
        ("analysed", "dB", "93 dB [90.52, 95.48]; needs more than 99 dB"),
    ],
)
def test_what_is_held_against_a_bound_is_printed_as_what_it_is(scale: Scale, unit: str, words: str) -> None:
    """No sign, and no points: 92, 93 and 94 have a standard error of 1 / sqrt(3), and t is 4.303 at 2 degrees."""
    level = Item("", statistics.estimate([92.0, 93.0, 94.0]), 99.0, math.inf, unit=unit, is_level=True)
    assert f"{value_on_scale(level, scale, 0.05)}; needs {window_on_scale(level, scale, MNIST1D)}" == words
    below = replace(level, low=-math.inf, high=99.0)
    assert window_on_scale(below, scale, MNIST1D).startswith("less than 99 ")


def test_a_difference_of_percentages_is_one_of_percentage_points() -> None:
    gap = Item("", statistics.estimate([4.0, 5.0, 6.0]), -1.0, 1.0, measured=8.0, unit="percent")
    assert value_on_scale(gap, "analysed", 0.05) == "8 %, off by +5 percentage points [+2.516, +7.484]"
    assert window_on_scale(gap, "analysed", MNIST1D) == f"{MINUS}1 to 1 percentage points"
    paired = replace(gap, measured=None, high=math.inf)
    assert value_on_scale(paired, "analysed", 0.05).startswith("+5 percentage points [")
    assert window_on_scale(paired, "analysed", MNIST1D) == f"more than {MINUS}1 percentage points"


def test_acronyms_keep_their_capitals() -> None:
    assert metric_words("analysed/psnr_final") == "PSNR final"
    assert metric_words("analysed/linear_cka") == "linear CKA"
    assert lowered("PSNR while it trains") == "PSNR while it trains"
    assert lowered("Denoised images") == "denoised images"


def test_a_page_of_the_suites_own_protocol_names_no_paper_and_the_share_of_the_weights() -> None:
    own = protocol_page(Observations(load("suite/mlp-mnist1d"), []), [])
    assert "in percent. Densities: weights remaining." in own
    theirs = protocol_page(Observations(load("grasp/vgg19-cifar10"), []), [])
    assert "as the paper reports it" in theirs
    assert column_text(load("suite/mlp-mnist1d"), 3) == "10 %"
    synflow = load("synflow/vgg16-cifar100-masks")
    assert re.fullmatch(r"10\^[\d.]+ \([\d.]+ %\)", column_text(synflow, 3))
    assert column_text(load("lth/lenet-mnist"), 1) == "80.0 %"


@pytest.mark.parametrize(
    ("density", "text"), [(1.0, "100 %"), (0.979, "98 %"), (0.0089, "0.89 %"), (1e-6, "0.0001 %"), (0.996, "100 %")]
)
def test_percentages_have_no_exponent(density: float, text: str) -> None:
    assert percent_text(density) == text


def test_no_committed_table_shows_an_interval_finer_than_its_mean_or_an_exponent_of_a_percentage() -> None:
    """Means have four digits: where the mean has three decimals, an interval of 0.0004 would be no measurement."""
    pages = {page.name: page.read_text(encoding="utf-8") for page in (BOARD / "protocols").glob("*.md")}
    assert pages
    for name, text in pages.items():
        assert not re.search(r"e\+\d+ %", text), name
        for mean, half in re.findall(r"\| (\d+(?:\.\d+)?) ± (\d[\d.e-]*) \(\d+\)", text):
            whole = len(str(int(float(mean)))) if float(mean) >= 1 else 1
            last = 10.0 ** -(4 - whole)
            assert float(half) == 0 or float(half) > 0.4 * last or float(mean) < 1, (name, mean, half)
