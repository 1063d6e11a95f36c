"""The picture of accuracy against bits: what it shows of made-up records, and that it is whole XML."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from made_once import run_all
from toy_analysis import analysing

from benchmark.claims.observations import Observations
from benchmark.protocols import Protocol, parse
from benchmark.records.store import Store
from benchmark.report.board.protocol_pages import protocol_page
from benchmark.report.leaderboard import render
from benchmark.report.trade_off import Mark, TradeOff, trade_off, trade_off_svg

SVG = "{http://www.w3.org/2000/svg}"


def test_marks_stand_where_their_numbers_say() -> None:
    marks = [Mark(50, 8000, 80.0, 79.0, 82.0, 3), Mark(100, 4000, 70.0, 70.0, 70.0, 3)]
    found = TradeOff({"a<b": marks, "other": marks[:1]}, 85.0, 400_000)
    text = trade_off_svg("tests/x", found)
    assert text == trade_off_svg("tests/x", found)
    tree = ElementTree.fromstring(text)
    titles = [title.text for title in tree.iter(f"{SVG}title")]
    assert titles[0] == "a<b, 8,000 bits: 80.00 %, 79 to 82, 3 seeds"
    assert len(titles) == 3
    path = next(p.get("d") for p in tree.iter(f"{SVG}path") if p.get("stroke-width") == "2")
    (x1, y1), (x2, y2) = (map(float, place.split()) for place in path.removeprefix("M").split("L"))
    assert x1 > x2  # more bits to the right
    assert y1 < y2  # more accurate above
    # From 70 to 85 on the axis: a point of accuracy is as high everywhere.
    assert (344 - y1) / (344 - 60) == pytest.approx(10 / 15, abs=1e-3)
    assert {"50 times", "100 times", "dense, 85.0 %"} <= {t.text for t in tree.iter(f"{SVG}text")}


def test_of_records(tiny_protocol: Protocol, tmp_path: Path) -> None:
    """Methods that differ in `times` are a series; the board has the picture and the page that shows it."""
    document = analysing(tiny_protocol, seeds=[0, 1], id="tests/bits")
    own = {"compressor": "magnitude-code", "positions": "entropy", "precision": 8}
    document["methods"] = {
        f"m-{times}x": {"analysis": "compression", "parameters": {**own, "times": times}, "levels": [0]}
        for times in (40, 20)
    }
    document["statistics"]["margins"]["analysed"] = {"accuracy_lost": 1.0}
    protocol = parse(document, "bits.yaml")
    assert trade_off(Observations(protocol, [])) is None
    store = Store(tmp_path)
    run_all(protocol, tmp_path)
    seen = Observations(protocol, store.records(protocol))
    found = trade_off(seen)
    assert found is not None
    assert [(name, [mark.times for mark in marks]) for name, marks in found.series.items()] == [("m", [20, 40])]
    assert found.series["m"][0].seeds == 2
    weights = 32 * sum(protocol.pruning.tensor_sizes.values())
    assert found.dense_bits == pytest.approx(weights)
    board = render(store, [protocol])
    assert ElementTree.fromstring(board["docs/board/protocols/tests-bits.svg"]).tag == f"{SVG}svg"
    page = board["docs/board/protocols/tests-bits.md"]
    assert "![Accuracy against bits](tests-bits.svg)" in page
    assert protocol_page(seen, [])[:80] in page
