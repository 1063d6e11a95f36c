"""Verdicts from synthetic records: every kind of rule, every verdict, and what must never be said."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Outcome, cells, fill, record, records_of
from claim_rules import ACCURACY, CHAIN, DENSE, IMP, STEP, flat
from judging import COMMON, LTH, OWN, judge, paper_of

from benchmark import protocols
from benchmark.claims import papers as published
from benchmark.claims.observations import Observations
from benchmark.claims.verdicts import combined, decide, decide_paper, to_json
from benchmark.protocols.cells import Cell
from benchmark.records.store import Store

MNIST1D = protocols.load("mnist1d/mlp@1")


VALUE = [{"rule": "value", "metric": ACCURACY, "of": IMP, "published": {"mean": 98.0, "sd": 0.1, "n": 5}}]

CONSTANT = [{"rule": "value", "metric": "train-accuracy", "of": IMP, "published": {"mean": 100.0}}]

EQUAL = [{"rule": "difference", "metric": ACCURACY, "higher": IMP, "lower": DENSE, "published": 0.3, "bound": "equal"}]

AT_LEAST = [{**EQUAL[0], "bound": "at-least"}]

GAIN = [{"rule": "largest-gain", "metric": ACCURACY, "of": CHAIN, "published": 0.35}]

RATIO = [{"rule": "ratio", "metric": STEP, "numerator": IMP, "denominator": DENSE, "published": 0.62}]

ABOVE = [{"rule": "ordering", "metric": ACCURACY, "higher": IMP, "lower": DENSE}]

SOONER = [{"rule": "ordering", "metric": STEP, "higher": DENSE, "lower": IMP}]


@pytest.mark.parametrize(
    ("rules", "world", "verdict"),
    [
        (VALUE, flat(98.1), "reproduced"),
        (VALUE, flat(98.9), "deviates"),
        (VALUE, flat(98.5), "inconclusive"),
        (CONSTANT, flat(98.0), "reproduced"),
        (EQUAL, flat(98.4), "reproduced"),
        (EQUAL, flat(99.2), "deviates"),
        (EQUAL, flat(98.8), "inconclusive"),
        (AT_LEAST, flat(99.2), "reproduced"),
        (AT_LEAST, flat(97.5), "deviates"),
        (AT_LEAST, flat(97.8), "inconclusive"),
        (GAIN, flat(98.3), "reproduced"),
        (GAIN, flat(99.3), "deviates"),
        (RATIO, flat(98.0, 3200.0), "reproduced"),
        (RATIO, flat(98.0, 4800.0), "deviates"),
        (RATIO, flat(98.0, 3720.0), "inconclusive"),
        (ABOVE, flat(98.3), "reproduced"),
        (ABOVE, flat(97.7), "deviates"),
        (ABOVE, flat(98.0), "inconclusive"),
        (SOONER, flat(98.0, 3000.0), "reproduced"),
        (SOONER, flat(98.0, 8000.0), "deviates"),
    ],
)
def test_each_rule_reaches_each_verdict(
    rules: list[dict[str, Any]], world: Callable[[str, int], tuple[float, float]], verdict: str
) -> None:
    decision = judge(rules, world)
    assert decision.verdict == verdict
    assert (decision.seeds_still_needed is None) or verdict == "inconclusive"
    assert decision.seeds == "5 of 5"


def test_a_verdict_is_provisional_until_all_planned_runs_are_made() -> None:
    assert not judge(ABOVE, flat(98.3)).provisional
    early = judge(ABOVE, flat(98.3), seeds=4)
    assert (early.verdict, early.spoken_verdict, early.seeds) == ("reproduced", "reproduced, provisional", "4 of 5")
    assert early.runs_missing == 2  # dense and the ticket of one seed
    assert not judge(ABOVE, flat(98.0), seeds=4).provisional  # inconclusive says already that more is needed


def test_a_missing_draw_leaves_a_verdict_provisional() -> None:
    rule = [{**ABOVE[0], "higher": {"method": "imp+reinit", "levels": [7]}}]
    one_missing = judge(
        rule, flat(98.3), change=lambda cell, outcome: None if cell.draw == 2 and cell.seed else outcome
    )
    assert (one_missing.spoken_verdict, one_missing.runs_missing) == ("reproduced, provisional", 4)
    assert not judge(rule, flat(98.3)).provisional


def peaked(centre: float) -> Callable[[str, int], tuple[float, float]]:
    """Accuracy peaks and steps dip at `centre`."""
    return lambda _m, lv: (98.0 - 0.1 * abs(lv - centre), 3000.0 * 1.1 ** abs(lv - centre))


@pytest.mark.parametrize(("metric", "extreme"), [(ACCURACY, "highest"), (STEP, "lowest")])
@pytest.mark.parametrize(("centre", "verdict"), [(7.0, "reproduced"), (13.0, "deviates"), (8.5, "inconclusive")])
def test_a_peak_must_beat_every_block_of_its_width(metric: str, extreme: str, centre: float, verdict: str) -> None:
    window = {"first": 6, "last": 8}
    rule = {"rule": "peak", "metric": metric, "of": CHAIN, "extreme": extreme, "window": window}
    assert judge([rule], peaked(centre)).verdict == verdict


def test_an_ordering_at_every_level_fails_at_one_level() -> None:
    pair = {"higher": {"method": "imp", "levels": [7, 12, 18]}, "lower": {"method": "random", "levels": [7, 12, 18]}}
    every = [{"rule": "ordering", "metric": ACCURACY, **pair, "over": "every"}]
    average = [{"rule": "ordering", "metric": ACCURACY, **pair, "over": "average"}]

    def world(method: str, level: int) -> tuple[float, float]:
        gain = {7: 1.0, 12: 1.0, 18: -0.4}.get(level, 0.0)
        return (98.0 + gain if method == "imp" else 98.0), 5000.0

    assert judge(every, world).verdict == "deviates"
    assert "at 1.9 %, weakest of 3" in judge(every, world).measured
    assert judge(average, world).verdict == "reproduced"


def test_neighbouring_levels_are_averaged_in_blocks() -> None:
    spiky = {9: -0.3, 10: 0.9}
    levels = {"first": 7, "last": 12}
    rule = {"rule": "ordering", "metric": ACCURACY, "higher": {"method": "imp", "levels": levels}, "lower": DENSE}

    def world(method: str, level: int) -> tuple[float, float]:
        return 98.0 + (0.0 if method == "dense" else spiky.get(level, 0.3)), 5000.0

    assert judge([{**rule, "width": 1}], world).verdict == "deviates"
    assert judge([{**rule, "width": 2}], world).verdict != "deviates"
    assert judge([{**rule, "width": 6}], world).verdict == "reproduced"


def test_a_value_at_several_levels_needs_all_of_them() -> None:
    of = {"method": "imp", "levels": {"first": 1, "last": 13}}
    rule = [{"rule": "value", "metric": "train-accuracy", "of": of, "published": {"mean": 100.0}}]

    def spoil(cell: Cell, outcome: Outcome) -> Outcome:
        bad = (cell.method, cell.level) == ("imp", 11)
        return Outcome(98.0, 5000, train_accuracy=95.0 + 0.1 * cell.seed) if bad else outcome

    assert judge(rule, flat(98.0)).verdict == "reproduced"
    decision = judge(rule, flat(98.0), change=spoil)
    assert decision.verdict == "deviates"
    assert "at 8.7 %" in decision.measured


@pytest.mark.parametrize("rules", [VALUE, CONSTANT, EQUAL, GAIN, RATIO, ABOVE, SOONER])
def test_one_seed_is_inconclusive_and_none_is_not_measured(rules: list[dict[str, Any]]) -> None:
    one = judge(rules, flat(98.3, 3100.0), seeds=1)
    assert (one.verdict, one.seeds_still_needed) == ("inconclusive", 1)
    assert {(c.p_reproduced, c.p_deviates, c.untested) for c in one.checks} == {(None, None, "not tested with 1 seed")}
    none = judge(rules, flat(98.3), seeds=0)
    assert (none.verdict, none.measured, none.seeds) == ("not measured", "not measured", "0 of 5")


def test_no_difference_seen_is_never_reproduced() -> None:
    """Two noisy seeds cannot show equality, however equal their means."""
    decision = judge(VALUE, flat(98.0), seeds=2, spread=10.0)
    assert decision.verdict == "inconclusive"
    assert decision.seeds_still_needed is not None
    assert decision.seeds_still_needed > 2


def test_identical_seeds_do_not_make_a_certainty_of_two() -> None:
    decision = judge(SOONER, flat(98.0, 4900.0), seeds=2, spread=0.0)
    assert decision.verdict == "inconclusive"


def test_only_seeds_that_have_both_sides_are_compared() -> None:
    """Unpaired seeds with absurd values change nothing."""

    def drop(cell: Cell, outcome: Outcome) -> Outcome | None:
        if cell.seed == 4:
            return Outcome(10.0, 50000) if cell.method == "dense" else None
        return outcome

    decision = judge(ABOVE, flat(98.3), change=drop)
    assert decision.checks[0].seeds == (0, 1, 2, 3)
    assert decision.checks[0].estimate == pytest.approx(0.3, abs=0.05)


def test_a_failed_run_is_reported_and_forbids_reproduced() -> None:
    def fail(cell: Cell, outcome: Outcome) -> Outcome:
        return Outcome(0, failed="loss is NaN at step 7") if cell == Cell("imp", 7, 3) else outcome

    decision = judge(ABOVE, flat(98.3), change=fail)
    assert decision.verdict == "inconclusive"
    assert decision.failures == ("imp at 21.1 %, seed 3: loss is NaN at step 7",)
    assert decision.checks[0].seeds == (0, 1, 2, 4)
    assert judge(ABOVE, flat(97.5), change=fail).verdict == "deviates"


def test_a_failure_elsewhere_does_not_matter() -> None:
    def fail(cell: Cell, outcome: Outcome) -> Outcome:
        return Outcome(0, failed="diverged") if cell == Cell("imp", 8, 3) else outcome

    assert judge(ABOVE, flat(98.3), change=fail).verdict == "reproduced"


def test_draws_are_averaged_within_their_seed() -> None:
    """Three draws of one seed count once: their spread is not the spread over seeds."""
    of = {"method": "imp+reinit", "levels": [7]}
    rule = [{"rule": "value", "metric": ACCURACY, "of": of, "published": {"mean": 98.0}}]

    def draws(cell: Cell, _outcome: Outcome) -> Outcome:
        return Outcome(98.0 + (-3, 0, 3)[cell.draw] + 0.01 * cell.seed, 5000)

    decision = judge(rule, flat(98.0), change=draws)
    assert decision.verdict == "reproduced"
    assert decision.seeds == "5 of 5"
    assert decision.checks[0].estimate == pytest.approx(0.02)


def test_the_margin_follows_the_dense_seed_sd_where_none_is_published() -> None:
    rule = [{"rule": "value", "metric": ACCURACY, "of": IMP, "published": {"mean": 98.0}}]
    assert judge(rule, flat(98.0)).checks[0].window == "\N{MINUS SIGN}0.50 to 0.50"
    wide = judge(rule, flat(98.0), spread=10.0).checks[0].window
    dense = [98.0 + 10 * (COMMON[seed] + OWN[(seed * 3 + 5) % 5]) for seed in range(5)]
    assert wide == f"\N{MINUS SIGN}{2 * np.std(dense, ddof=1):.2f} to {2 * np.std(dense, ddof=1):.2f}"


def test_holm_runs_over_the_claims_of_a_paper_measured_or_not() -> None:
    """What passes alone need not pass among twenty, even while the other nineteen are not measured."""
    other = [{**ABOVE[0], "higher": {"method": "fine-tune", "levels": [7]}}]

    def world(cell: Cell) -> Outcome:
        return Outcome(98.0 + (0.15 + 2 * COMMON[cell.seed] * cell.level / 7 if cell.level else 0.0), 5000)

    found = records_of(LTH, world, ["dense", "imp"])
    seen = {LTH.id: Observations(LTH, found)}
    (alone,) = decide_paper(paper_of(ABOVE), seen)
    among = decide_paper(paper_of(ABOVE, *[other] * 19), seen)
    assert alone.verdict == "reproduced"
    assert among[0].verdict == "inconclusive"
    assert among[0].checks[0].p_reproduced == pytest.approx(20 * (alone.checks[0].p_reproduced or 0))


@pytest.mark.parametrize(
    ("checks", "verdict"),
    [
        (["reproduced", "reproduced"], "reproduced"),
        (["reproduced", "inconclusive"], "inconclusive"),
        (["reproduced", "not measured"], "not measured"),
        (["inconclusive", "not measured"], "not measured"),
        (["reproduced", "deviates"], "deviates"),
        (["not measured", "deviates"], "deviates"),
    ],
)
def test_a_claim_is_as_good_as_its_checks(checks: list[Any], verdict: str) -> None:
    assert combined(checks) == verdict


def curve_world(offset: float, at: int | None = None) -> Callable[[Cell], Outcome]:
    """The published curve of MNIST-1D with small noise, moved by `offset` everywhere or around one level."""
    rows = [row for row in published.results("mnist1d", "rounds") if row.column == "test_acc_final"]
    mean = {(row.method, int(dict(row.labels)["round"]) - 1): row.mean for row in rows}

    def world(cell: Cell) -> Outcome:
        method = "imp" if cell.method == "dense" else cell.method
        moved = offset if at is None or abs(cell.level - at) < 3 else 0.0
        return Outcome(mean[method, cell.level] + moved + 5 * COMMON[cell.seed])

    return world


@pytest.mark.parametrize(
    ("offset", "at", "verdict"),
    [(0.0, None, "reproduced"), (9.0, None, "deviates"), (12.0, 42, "deviates"), (2.5, None, "inconclusive")],
)
def test_a_curve_is_compared_in_all_its_parts(offset: float, at: int | None, verdict: str) -> None:
    of = {"method": "imp", "levels": {"first": 0, "last": 99}}
    runs = {"table": "rounds", "setting": "lottery", "published": ["imp"], "width": 5, "spread": "pooled"}
    rule = {"rule": "curve", "metric": "last-accuracy", "of": of, **runs}
    seen = Observations(MNIST1D, records_of(MNIST1D, curve_world(offset, at), ["dense", "imp"]))
    (decision,) = decide_paper(paper_of([rule], protocol=MNIST1D.id), {MNIST1D.id: seen})
    assert decision.verdict == verdict


def test_decide_reads_the_store_and_gives_every_claim(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fill(store, MNIST1D, curve_world(0.0), ["dense", "imp", "random"])
    decisions = {d.claim: d for d in decide(store, [LTH, MNIST1D])}
    known = {LTH.id, MNIST1D.id}
    every = [claim for paper in published.load_all() for claim in paper.claims]
    assert set(decisions) == {claim.id for claim in every if claim.cells.keys() <= known}
    assert decisions["mnist1d-3"].verdict == "reproduced"
    assert decisions["mnist1d-curve-imp"].verdict == "reproduced"
    assert decisions["mnist1d-4"].verdict == decisions["lth-1-ratio"].verdict == "not measured"
    assert decisions["lth-9-reinit"].command == ("lotterybench run lth/lenet-mnist:dense lth/lenet-mnist:imp+reinit")


def test_records_of_another_protocol_document_are_ignored(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fill(store, MNIST1D, curve_world(0.0), ["imp"])
    for path in tmp_path.rglob("*.json"):
        path.write_text(path.read_text().replace(MNIST1D.digest, "f" * 64))
    assert {d.verdict for d in decide(store, [MNIST1D])} == {"not measured"}


def test_json_is_plain_and_finite() -> None:
    decisions = [judge(rules, flat(98.3, 3100.0), seeds=n) for rules in (ABOVE, RATIO, GAIN) for n in (0, 1, 2, 5)]
    document = json.loads(json.dumps(to_json(decisions), allow_nan=False))
    assert document[0]["verdict"] == "not measured"
    assert document[3]["checks"][0]["seeds"] == [0, 1, 2, 3, 4]
    assert document[3]["command"].startswith("lotterybench run ")


def test_the_builder_makes_whole_records() -> None:
    cell = cells(LTH, ["imp+reinit"])[5]
    made = record(LTH, cell, Outcome(98.0, 5000))
    assert (made.method.pruner, made.cell.seed, made.status) == ("magnitude", cell.seed, "finished")


def test_verdicts_board_and_figure_import_no_torch() -> None:
    code = (
        "import sys, pathlib\n"
        "from benchmark import protocols as protocol\nfrom benchmark.claims import verdicts\n"
        "from benchmark.report import figure, leaderboard\n"
        "from benchmark.records.store import Store\n"
        "store, ids = Store(pathlib.Path('nowhere')), ('mnist1d/mlp', 'snip/lenet-300-100-mnist')\n"
        "known = [protocol.load(i) for i in ids]\n"
        "verdicts.to_json(verdicts.decide(store, known))\n"
        "leaderboard.render(store, known)\n"
        "print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]
