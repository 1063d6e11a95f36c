"""Pictures of the curves beside records of analyses: the right numbers at the right places, for the board and pages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from record_documents import document_of
from toy_analysis import analysing

from benchmark.claims.observations import Observations
from benchmark.protocols import Protocol, parse
from benchmark.protocols.analysis import ANALYSES
from benchmark.protocols.cells import Cell
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.report.analysis_curves import DRAWN, MOST_SERIES, CurvePicture, Series, curve_pictures
from benchmark.report.curves_svg import BOTTOM, LEFT, RIGHT, TOP, _whole_ticks, curves_svg
from benchmark.utils.npz import pack

PLACES = np.array([0.0, 0.5, 1.0])


@pytest.fixture
def protocol(tiny_protocol: Protocol) -> Protocol:
    document = analysing(tiny_protocol)
    document["methods"] |= {
        "toy": {"analysis": "instability", "levels": [0]},
        "toy-imp": {"analysis": "instability", "of": "imp", "levels": [1, 3]},
    }
    return parse(document, "curves.yaml")


def kept(protocol: Protocol, root: Path, cell: Cell, **curves: list[float]) -> None:
    """A finished record with these curves beside it."""
    document = document_of(protocol)
    document |= {"mask": None, "measured": None, "analysed": {"weights": {"unit": "count", "value": 1.0}}}
    document["method"] = {"name": cell.method, "pruner": None, "pruner_digest": None, "parameters": {}}
    document["cell"] |= {"level": cell.level, "seed": cell.seed}
    content = pack({"place": PLACES, **{name: np.array(values) for name, values in curves.items()}})
    Store(root).write(protocol, cell, Record.model_validate_json(json.dumps(document)), content)


@pytest.fixture
def store(protocol: Protocol, tmp_path: Path) -> Store:
    """Two seeds of the dense network, one of a level."""
    kept(protocol, tmp_path, Cell("toy", 0, 0), test_error=[2.0, 4.0, 2.0], train_error=[0.0, 0.0, 0.0])
    kept(protocol, tmp_path, Cell("toy", 0, 1), test_error=[2.0, 8.0, 4.0], train_error=[0.0, 2.0, 0.0])
    kept(protocol, tmp_path, Cell("toy-imp", 1, 0), test_error=[10.0, 6.0, 5.0], train_error=[1.0, 1.0, 1.0])
    return Store(tmp_path)


def test_series_are_means_and_ends_over_seeds(protocol: Protocol, store: Store) -> None:
    (picture,) = curve_pictures(store, Observations(protocol, store.records(protocol)))
    assert [series.name for series in picture.series] == [
        "toy, 100.0 %, test", "toy, 100.0 %, training", "toy-imp, 61.9 %, test", "toy-imp, 61.9 %, training",
    ]  # fmt: skip
    test, train, level, _ = picture.series
    assert (test.mean, test.low, test.high) == ((2.0, 6.0, 3.0), (2.0, 4.0, 2.0), (2.0, 8.0, 4.0))
    assert (test.x, test.seeds, level.seeds) == ((0.0, 0.5, 1.0), 2, 1)
    assert (test.colour, train.colour, level.colour) == (0, 0, 1)
    assert (test.dashed, train.dashed) == (False, True)


def test_lines_lie_where_their_numbers_are(protocol: Protocol, store: Store) -> None:
    """The axis of values from 0 to 10: of the first line, 2 and 6 and 3; of its band, 8 above and 4 below."""
    (picture,) = curve_pictures(store, Observations(protocol, store.records(protocol)))
    text = curves_svg("tests/analysis", picture)
    ElementTree.fromstring(text)
    assert text == curves_svg("tests/analysis", picture)
    height, middle = BOTTOM - TOP, (LEFT + RIGHT) / 2
    (mean,) = re.findall(r'<title>toy, 100.0 %, test.*?<path d="M([^"]*)" fill="none"', text, re.DOTALL)[:1]
    points = [float(number) for point in mean.split("L") for number in point.split()]
    wanted = [LEFT, BOTTOM - 0.2 * height, middle, BOTTOM - 0.6 * height, RIGHT, BOTTOM - 0.3 * height]
    assert points == pytest.approx(wanted, abs=0.06)
    band = re.findall(r'<title>toy, 100.0 %, test.*?<path d="M([^"]*)Z"', text, re.DOTALL)[0].split("L")
    ends = [float(point.split()[1]) for point in band]
    assert (ends[1], ends[4]) == pytest.approx((BOTTOM - 0.8 * height, BOTTOM - 0.4 * height), abs=0.06)
    assert "6 at most, 2 seeds" in text
    assert text.count("stroke-dasharray") == 4  # two dashed lines, and their two places in the legend


def test_curves_of_records_that_lack_the_places_join_those_that_have_them(
    tiny_protocol: Protocol, tmp_path: Path
) -> None:
    """A first seed recorded before steps were: its curve is in the mean, over the steps that the second one names."""
    document = analysing(tiny_protocol)
    document["methods"] |= {
        "early": {"analysis": "iht", "levels": [0]}, "both": {"analysis": "iht", "levels": [3, 1]}
    }  # fmt: skip
    protocol = parse(document, "curves.yaml")
    kept(protocol, tmp_path, Cell("early", 0, 0), psnr=[5.0, 6.0])
    kept(protocol, tmp_path, Cell("both", 1, 0), psnr=[10.0, 20.0], objective=[1.0])
    kept(protocol, tmp_path, Cell("both", 1, 1), psnr=[14.0, 30.0], step=[1.0, 2.0])
    kept(protocol, tmp_path, Cell("both", 3, 0), psnr=[0.0, 0.0])
    store = Store(tmp_path)
    (picture,) = curve_pictures(store, Observations(protocol, store.records(protocol)))
    early, denser, _ = picture.series
    assert (early.x, early.seeds) == ((1.0, 2.0), 1), "steps are counted from 1"
    assert (denser.x, denser.low, denser.high, denser.seeds) == ((1.0, 2.0), (10.0, 20.0), (14.0, 30.0), 2)
    assert [s.name for s in picture.series] == [
        "early, 100.0 %, network",
        "both, 61.9 %, network",
        "both, 24.1 %, network",
    ]
    assert picture.counted
    ticks = re.findall(r'class="f m" x="[^"]*" y="360">([^<]*)', curves_svg("t", picture))
    assert ticks == ["1", "2"]


@pytest.mark.parametrize(
    ("ends", "ticks"),
    [((1, 3), [1, 2, 3]), ((0, 7), [0, 2, 4, 7]), ((1, 100), [1, 20, 40, 60, 80, 100]), ((2, 2), [2, 2])],
)
def test_ticks_of_counted_places_are_whole_numbers(ends: tuple[int, int], ticks: list[int]) -> None:
    assert _whole_ticks(*ends) == ticks


def test_no_two_lines_look_alike_and_what_is_left_out_is_counted() -> None:
    series = [Series(f"m{n // 2}", (0.0, 1.0), *3 * [(float(n), 1.0)], 1, n // 2, n % 2 == 1) for n in range(2 * 12)]
    text = curves_svg("tests", CurvePicture("T", "x", "y", tuple(series), left_out=3))
    looks = re.findall(r'h24" fill="none" (stroke="[^/]*)/>', text)
    assert len(looks) == len(set(looks)) == len(series)
    assert "3 more in the table of numbers" in text
    assert len(series) >= MOST_SERIES


def test_only_curves_that_are_there_are_drawn(protocol: Protocol, tmp_path: Path) -> None:
    assert curve_pictures(Store(tmp_path), Observations(protocol, [])) == []
    kept(protocol, tmp_path, Cell("toy", 0, 0), other=[1.0, 1.0, 1.0])
    store = Store(tmp_path)
    assert curve_pictures(store, Observations(protocol, store.records(protocol))) == []


def test_what_is_drawn_are_analyses() -> None:
    assert set(DRAWN) <= set(ANALYSES.names())
