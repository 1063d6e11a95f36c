"""The first page's forest plot and findings, learning curves, mask pictures, comparisons: against hand calculation."""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import Outcome, record

from benchmark import protocols
from benchmark.claims import statistics
from benchmark.claims.observations import Observations
from benchmark.claims.verdicts import Decision, decide_all
from benchmark.planning.cost import FLOPS_PER_SECOND, flops_per_step
from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell
from benchmark.records.masks import NestedMasks
from benchmark.records.store import Store
from benchmark.report.html import charts, compare, overview, pictures
from benchmark.report.html.looks import looks_of
from benchmark.report.html.series import learning, line
from benchmark.utils.npz import pack

MNIST1D = protocols.load("mnist1d/mlp@1")


@pytest.fixture(scope="module")
def decisions() -> list[Decision]:
    """The claims of one protocol, random masks and the dense network measured at 90 %, which is wrong by far."""
    made = [record(MNIST1D, Cell("dense", 0, s), Outcome(65.0 + 0.1 * s, 2)) for s in MNIST1D.seeds]
    made += [
        record(MNIST1D, Cell("random", level, s), Outcome(90.0 + 0.1 * s, 2))
        for level in MNIST1D.measured_levels("random")
        for s in MNIST1D.seeds
    ]
    return decide_all({MNIST1D.id: Observations(MNIST1D, made)})


def test_the_forest_places_marks_by_margins(decisions: list[Decision]) -> None:
    """20 points off with a margin of 2.5 lies beyond the picture: an arrow at its edge; -1 to 1 is its middle half."""
    (verdict, marks), *_ = overview.marks(decisions)
    assert verdict == "deviates"
    (mark,) = [m for m in marks if m.row.claim == "mnist1d-curve-random"]
    assert mark.band == (90.0, 150.0), "240 wide for margins -4 to 4"
    assert (mark.shape, mark.at) == ("right", 240.0)
    assert mark.more[1] or mark.row.interval is None or mark.row.interval[1] > 4


def test_findings_are_what_does_not_hold_then_headlines(decisions: list[Decision]) -> None:
    held = [replace(decisions[0], claim=f"h{n}", verdict="reproduced") for n in range(5)]
    wrong = replace(decisions[0], claim="w", verdict="deviates")
    shown = overview.findings([[*held[:3], wrong], held[3:]])
    assert [d.claim for d in shown] == ["w", "h0", "h1", "h3", "h4"]
    assert overview.by_verdict([*held, wrong])[0].claim == "w"


def test_what_a_claim_costs_is_counted_from_its_missing_runs(decisions: list[Decision]) -> None:
    """Of nothing measured: dense networks and those of each level, by seed; trained in full at 30 GFLOP/s."""
    claim = next(d for d in decisions if d.claim == "mnist1d-curve-random")
    claim = replace(claim, verdict="not measured")
    words = overview.cost_to_decide([claim], {MNIST1D.id: Observations(MNIST1D, [])})
    runs = 5 + 5 * len(MNIST1D.measured_levels("random"))
    trained = runs - 5 * sum(MNIST1D.level_table[level].kept == 0 for level in MNIST1D.measured_levels("random"))
    hours = trained * MNIST1D.recipe.steps * flops_per_step(MNIST1D) / FLOPS_PER_SECOND / 3600
    assert words == f"{runs:,} runs, {hours:.1f} core-hours"
    assert overview.cost_to_decide([], {}) == "no planned run is missing"


def test_learning_curves_are_means_and_ranges_over_seeds(tmp_path: Path) -> None:
    store, looks = Store(tmp_path), looks_of([MNIST1D])
    steps = np.arange(0, 10_001, 10)
    for seed in (0, 1):
        curve = {"test_steps": steps, "test_accuracy_percent": 50 + steps / 1000 + 2.0 * seed}
        cell = Cell("imp", 3, seed)
        store.write(MNIST1D, cell, record(MNIST1D, cell, Outcome(60.0, 2)), pack(curve))
    found = learning(store, Observations(MNIST1D, store.records(MNIST1D)), "imp", 3)
    assert found
    assert (found.test_steps[0], found.test_steps[-1]) == (10, 10_000)
    assert len(found.test_steps) <= 48
    ratios = np.diff(np.log(found.test_steps[-20:]))
    assert ratios.max() < 1.5 * ratios.min(), "even on a log axis"
    for step, *values in zip(found.test_steps, *vars(found.test_accuracy).values(), strict=True):
        base = 50 + step / 1000
        assert values == pytest.approx([base + 1, base, base + 2], rel=1e-3)
    chart = charts.learning_chart([found], "accuracy", looks)
    assert chart["layout"]["xaxis"]["type"] == "log"
    assert 10 ** chart["layout"]["xaxis"]["range"][0] == pytest.approx(0.8 * 400, rel=0.25)
    low, high = chart["layout"]["yaxis"]["range"]
    assert 51.2 < low < 51.6, "opens at what is left after a tenth of the steps, not at the start"
    assert 61 < high < 62


def test_the_dense_network_is_a_line_with_the_band_of_its_interval() -> None:
    seen = Observations(
        MNIST1D, [record(MNIST1D, Cell("dense", 0, s), Outcome(v, 2)) for s, v in enumerate((64.0, 65.0, 66.0))]
    )
    random = Observations(MNIST1D, [record(MNIST1D, Cell("random", n, 0), Outcome(60.0, 2)) for n in (1, 50)])
    chart = charts.curves(
        MNIST1D, "last-accuracy", [line(random, "last-accuracy", "random")], line(seen, "last-accuracy", "dense"), [],
        looks_of([MNIST1D]),
    )  # fmt: skip
    dense = chart["data"][0]
    assert set(dense["y"]) == {65.0}
    half = statistics.quantile(0.975, 2) / np.sqrt(3)
    assert dense["band"]["low"] == pytest.approx([65 - half] * len(dense["x"]))
    assert dense["band"]["high"] == pytest.approx([65 + half] * len(dense["x"]))


def test_a_mask_picture_is_a_png_of_how_long_weights_stay(tmp_path: Path) -> None:
    """Of a layer of 2 by 3 weights in a chain of 4 levels: the pixels' places in the palette are their levels'."""
    protocol, store = MNIST1D, Store(tmp_path)
    kept = {name: np.full(shape, 4, np.uint8) for name, shape in _shapes(protocol).items()}
    name = next(name for name, array in kept.items() if array.ndim == 2)
    kept[name][0, :] = 1
    store.write_nested_masks(protocol, "imp", 0, NestedMasks(kept, np.zeros((5, 4))))
    own = pictures.of_protocol(store, Observations(protocol, []))["imp"]
    picture = next(p for p in own if p.layer == name)
    content = base64.b64decode(picture.png)
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    assert (width, height) == (picture.width, picture.height)
    start = content.index(b"IDAT") + 4
    pixels = np.frombuffer(zlib.decompressobj().decompress(content[start:]), np.uint8).reshape(height, width + 1)
    assert not pixels[:, 0].any(), "no filter"
    assert set(pixels[1:, 1:].ravel()) == {pictures.SHADES - 1}
    assert pixels[0, 1] < pictures.SHADES - 1, "its weights go first"
    assert "Half of its weights are gone at" in picture.words
    assert not any(p.layer.endswith("bias") for p in own)


def _shapes(protocol: Protocol) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in NestedMasks.dense(protocol.pruning.prunable).last_kept.items()}


def test_a_comparison_hands_on_every_seed_and_the_quantiles_it_needs() -> None:
    made = [record(MNIST1D, Cell("dense", 0, s), Outcome(65.0, 2)) for s in range(3)]
    made += [record(MNIST1D, Cell("imp", 2, s), Outcome(70.0 + s, 2)) for s in range(3)]
    (found,) = compare.document([Observations(MNIST1D, made)], looks_of([MNIST1D]))["protocols"]
    assert found["values"]["imp"] == {"2": {"0": 70.0, "1": 71.0, "2": 72.0}}
    assert found["values"]["dense"]["0"]["2"] == 65.0
    assert found["t"] == [pytest.approx(12.7062, abs=1e-4), pytest.approx(4.30265, abs=1e-4)], "a printed t table"
    assert set(found["levels"]) == {"0", "2"}
    assert compare.ticks([80.0, 0.0, 1.9]) == [100, 50, 20, 10, 5, 2, 1]
    assert compare.ticks([100.0]) == [100]
    assert compare.ticks([0.5, 3.0]) == [100, 50, 20, 10, 5, 2, 1, 0.5]
    script = (Path(compare.__file__).parent / "static" / "compare.js").read_text(encoding="utf-8")
    assert "not corrected for their number; claims are decided at planned looks only" in script
    assert compare.document([Observations(MNIST1D, made[:3])], looks_of([MNIST1D])) == {"protocols": []}
