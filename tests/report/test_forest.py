"""The forest plot: positions in margins by hand, which check a row shows, their order, a picture of stable bytes."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from judging import judge

from benchmark import protocols
from benchmark.claims.verdicts import CheckResult, Decision, decide, to_json
from benchmark.records.store import Store
from benchmark.report.forest import ORDER, ForestRow, forest, slack
from benchmark.report.forest_svg import forest_svg
from benchmark.report.svg import DARK, LIGHT

ROOT = Path(__file__).parents[2]
ACCURACY = "early-stop-accuracy"
TICKET = {"method": "imp", "levels": [7]}
VALUE = {"rule": "value", "metric": ACCURACY, "of": TICKET, "published": {"mean": 98.0, "sd": 0.1, "n": 5}}
ABOVE = {"rule": "ordering", "metric": ACCURACY, "higher": TICKET, "lower": {"method": "dense", "levels": [0]}}
LTH = protocols.load("lth/lenet-mnist@1")


def at(accuracy: float, *, seeds: int = 5, rule: dict[str, object] | None = None) -> Decision:
    """The claim decided where tickets have this accuracy, and dense networks 98."""
    rules = [rule or VALUE]
    return judge(rules, lambda method, _: (accuracy if method == "imp" else 98.0, 5000.0), seeds=seeds)


def row(decision: Decision) -> ForestRow:
    (found,) = forest([decision])
    return found


def test_a_number_stands_at_its_distance_over_half_of_its_window() -> None:
    decision = at(98.1)
    (check,) = decision.checks
    low, high = check.bounds
    assert low is not None
    assert high is not None
    assert high == -low  # around the published value
    found = row(decision)
    assert found.two_sided
    assert check.estimate is not None
    assert found.at == pytest.approx(check.estimate / high)
    assert check.low is not None
    assert found.interval == (pytest.approx(check.low / high), pytest.approx((check.high or 0) / high))


def test_an_ordering_stands_at_its_distance_over_the_protocols_margin() -> None:
    decision = at(98.6, rule=ABOVE)
    found = row(decision)
    assert not found.two_sided
    assert found.at == pytest.approx((decision.checks[0].estimate or 0) / LTH.statistics.margins.accuracy_points)


def test_a_window_that_is_open_to_the_left_is_turned_around() -> None:
    """Whatever the rule, a claim with one bound holds to the right of 0."""
    decision = at(98.6, rule=ABOVE)
    upper = replace(decision.checks[0], bounds=(None, 0.0), estimate=-0.5, low=-0.75, high=0.25, margin=0.5)
    found = row(replace(decision, checks=(upper,)))
    assert (found.at, found.interval) == (1.0, (-0.5, 1.5))


def test_one_seed_has_no_end_and_a_share_of_seeds_no_interval() -> None:
    decision = at(98.1, seeds=1)
    assert row(decision).interval == (None, None)
    share = replace(decision.checks[0], scale="share", bounds=(0.5, None), estimate=1.0, margin=0.5)
    assert (row(replace(decision, checks=(share,))).at, row(replace(decision, checks=(share,))).interval) == (1.0, None)


def test_a_row_shows_the_check_that_its_verdict_hangs_on() -> None:
    near, far, out = (at(accuracy).checks[0] for accuracy in (98.0, 98.12, 99.0))
    assert (near.verdict, far.verdict, out.verdict) == ("reproduced", "reproduced", "deviates")
    assert slack(near) > slack(far) > 0 > slack(out)
    whole = at(98.0)
    assert row(replace(whole, checks=(near, far))).check == 2
    assert row(replace(whole, checks=(near, out, far), verdict="deviates")).check == 2
    unknown = replace(near, verdict="not measured", estimate=None)
    assert forest([replace(whole, verdict="not measured", checks=(unknown,))]) == []
    assert forest([replace(whole, verdict="not measured", checks=(near, unknown))]) == []


def test_rows_come_by_verdict_then_in_the_order_of_the_papers() -> None:
    whole = at(98.0)
    given = [
        replace(whole, paper="a", claim="1", verdict="inconclusive"),
        replace(whole, paper="b", claim="2", verdict="reproduced"),
        replace(whole, paper="a", claim="3", verdict="reproduced"),
        replace(whole, paper="a", claim="4", verdict="deviates"),
    ]
    assert [found.claim for found in forest(given)] == ["4", "3", "2", "1"]


@pytest.fixture(scope="module")
def committed() -> list[Decision]:
    return decide(Store(ROOT / "results"), protocols.load_all())


def test_the_picture_agrees_with_the_verdicts(committed: list[Decision]) -> None:
    """What is reproduced lies in its window with its whole interval of 1 - 2 alpha, so its mean does; a number that
    deviates lies outside."""
    rows = forest(committed)
    assert {found.claim for found in rows if found.decided} == {
        d.claim for d in committed if d.verdict in ORDER[:3] and any(c.estimate is not None for c in d.checks)
    }
    for found in rows:
        inside = abs(found.at) <= 1 if found.two_sided else found.at >= 0
        if found.decided:
            assert inside == (found.verdict == "reproduced"), found.claim


def test_the_picture_is_well_formed_the_same_again_and_escapes_words(committed: list[Decision]) -> None:
    rows = forest(committed)
    text = forest_svg(rows)
    assert text == forest_svg(list(rows))
    assert text.count("<g>") == len(rows)
    wild = replace(rows[0], claim="x-1", statement='a <b> & "c"', published="</svg>", at=1e9, interval=(None, math.pi))
    tree = ElementTree.fromstring(forest_svg([wild]))
    assert any("a <b> &" in "".join(node.itertext()) for node in tree.iter())
    assert "nothing is measured yet" in forest_svg([])
    assert not re.search(r"\b(nan|inf)\b", text)


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.1."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_words_and_verdicts_stand_out_from_the_background(palette: dict[str, str]) -> None:
    """WCAG 2.1: 4.5 to 1 for text, on paper and on the shaded band for what is drawn there 3 to 1."""

    def contrast(a: str, b: str) -> float:
        high, low = sorted((luminance(palette[a]), luminance(palette[b])), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for name in ("ink", "faint", "reproduced", "deviates", "contradicted", "inconclusive"):
        assert contrast(name, "paper") >= 4.5, name
        assert contrast(name, "band") >= 3, name


def test_json_of_verdicts_has_no_new_field(committed: list[Decision]) -> None:
    fields = {name for document in to_json(committed) for check in document["checks"] for name in check}
    assert fields == set(CheckResult.__dataclass_fields__) - {"scale", "bounds", "margin", "untested"}
