"""Which method is best: levels nearest to the densities asked for, groups, and the gain of tickets, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import Outcome, records_of

from benchmark import protocols
from benchmark.claims import papers as published
from benchmark.claims.observations import Observations
from benchmark.claims.verdicts import decide_paper
from benchmark.protocols.cells import Cell
from benchmark.records.store import Store
from benchmark.report.board.markdown import aligned, as_cell, as_foreign, listed, short, table
from benchmark.report.board.missing import missing_for
from benchmark.report.board.questions import (
    AT_INITIALIZATION,
    answer,
    answers,
    best_text,
    first_group,
    gain_text,
    headline_gains,
    nearest,
)
from benchmark.report.taxonomy import ranked_methods, taxonomy

LTH = protocols.load("lth/lenet-mnist@1")
ACCURACY = {"imp": 98.0, "random": 95.0, "magnitude": 95.02, "snip": 97.0, "grasp": 96.0, "snip+shuffle": 99.9}
JITTER = (0.0, 0.06, -0.05)


def world(cell: Cell) -> Outcome | None:
    """Levels 12 (7.0 %), 13 (5.7 %), 18 (1.9 %); at 13 only imp and random. magnitude swings against the others."""
    if cell.draw or cell.seed > 2 or cell.level not in (0, 12, 13, 18):
        return None
    if cell.method == "dense":
        return Outcome(98.5, 5000)
    if cell.method not in ACCURACY:
        return None
    jitter = JITTER[cell.seed] * (-1 if cell.method == "magnitude" else 1)
    return Outcome(ACCURACY[cell.method] + jitter + 0.01 * cell.seed * (cell.method == "imp"), 5000)


@pytest.fixture(scope="module")
def seen() -> Observations:
    return Observations(LTH, records_of(LTH, world))


def test_which_question_a_density_belongs_to() -> None:
    """The nearest by ratio: 0.1 and 0.05 meet at 0.0707; at most a factor of 1.6 away."""
    found = {
        density: nearest(density) for density in (0.2, 0.16, 0.072, 0.07, 0.031, 0.0143, 0.0140, 0.0063, 0.006, 0.0)
    }
    assert found == {
        0.2: None, 0.16: 0.10, 0.072: 0.10, 0.07: 0.05, 0.031: 0.02, 0.0143: 0.02, 0.0140: 0.01, 0.0063: 0.01,
        0.006: None, 0.0: None,
    }  # fmt: skip


def test_the_level_at_which_most_methods_are_measured(seen: Observations) -> None:
    """7.0 and 5.6 % both belong to 5 %; 5.6 is nearer, and fewer methods are measured there."""
    given = answer(seen, 0.05)
    assert given is not None
    assert given.level == 12
    assert answer(seen, 0.01) is None
    assert [each.level for each in answers([seen], 0.02)] == [18]


def test_ranks_stay_within_a_cost_group_and_controls_out(seen: Observations) -> None:
    given = answer(seen, 0.02)
    assert given is not None
    assert {group: [(s.method, s.rank) for s in found] for group, found in given.best.items()} == {
        "no data": [("magnitude", 1), ("random", 1)],
        "few examples": [("snip", 1), ("grasp", 2)],
        "whole training set": [],
        "several trainings": [("imp", 1)],
    }
    top = first_group(given.best["no data"])
    assert top is not None
    assert (top[0].method, [s.method for s in top[1]]) == ("magnitude", ["random"])
    assert best_text(given, "no data").endswith("(3); alike: random")
    assert best_text(given, "whole training set") == ""


def test_what_tickets_gain_over_the_best_at_initialization(seen: Observations) -> None:
    """imp - snip = 1.00, 1.01, 1.02 over three seeds; four methods decide their masks before training."""
    given = answer(seen, 0.02)
    assert given is not None
    assert given.gain is not None
    assert (given.gain.over, given.gain.among) == ("snip", 4)
    assert given.gain.points.mean == pytest.approx(1.01)
    half = 4.302653 * 0.01 / 3**0.5
    assert gain_text(given) == f"+1.01 [+{1.01 - half:.2f}, +{1.01 + half:.2f}] (3) over snip, best of 4"


def test_at_initialization_nothing_is_trained_for_a_mask() -> None:
    """Neither weights nor scores: learned masks are no pruning at initialization, though they start from there."""
    for protocol in protocols.load_all():
        seen = Observations(protocol, [])
        kinds = [taxonomy(seen, name) for group in AT_INITIALIZATION for name in ranked_methods(seen, group)]
        assert {kind.decided for kind in kinds} <= {"before training"}
        assert {kind.data for kind in kinds} <= {"no data", "few examples"}
    learners = protocols.load("suite/learners-mnist1d")
    assert "edge-popup" in ranked_methods(Observations(learners, []), "whole training set")


def test_who_shares_one_seed_with_tickets_is_compared_only_where_nobody_shares_two() -> None:
    """snip is best, and measured once."""
    records = records_of(LTH, lambda cell: None if cell.method == "snip" and cell.seed else world(cell))
    given = answer(Observations(LTH, records), 0.02)
    assert given is not None
    assert given.gain is not None
    assert (given.gain.over, given.gain.among, given.gain.points.n) == ("grasp", 3, 3)


def test_a_gain_of_two_seeds_is_not_shown_and_three_lead_the_first_page() -> None:
    def until(seeds: int) -> Observations:
        return Observations(LTH, records_of(LTH, lambda cell: world(cell) if cell.seed < seeds else None))

    two, three = answer(until(2), 0.02), answer(until(3), 0.02)
    assert two is not None
    assert three is not None
    assert two.gain is not None
    assert two.gain.points.n == 2
    assert gain_text(two) == ""
    assert headline_gains([until(2)]) == []
    assert [gain_text(given) for given in headline_gains([until(3)])] == [gain_text(three)]


def test_the_canonical_protocol_comes_first_and_then_gains_not_the_number_of_methods(seen: Observations) -> None:
    """mnist1d measures tickets and random masks in three seeds, LTH's LeNet six methods; with less or more of either,
    LeNet comes first; without it what has a gain comes before what has many methods of which no network is trained."""
    mnist1d, zhou = protocols.load("mnist1d/mlp@1"), protocols.load("zhou/lenet-mnist")

    def few(cell: Cell) -> Outcome | None:
        near = cell.level and abs(mnist1d.level_table[cell.level].density - 0.02) < 0.0005
        return Outcome(60.0 + cell.seed, 2) if near and cell.seed < 3 and cell.method in ("imp", "random") else None

    def many(cell: Cell) -> Outcome | None:
        return Outcome(50.0 + cell.seed, 2) if cell.level == 16 else None

    others = [Observations(zhou, records_of(zhou, many)), Observations(mnist1d, records_of(mnist1d, few))]
    found = answers([*others, seen], 0.02)
    assert [given.seen.protocol.id for given in found] == ["lth/lenet-mnist", "mnist1d/mlp", "zhou/lenet-mnist"]
    assert found[-1].trained == 0
    assert len([s for group in found[-1].best.values() for s in group]) > 5


def test_without_tickets_or_pruners_there_is_no_gain() -> None:
    for left_out in (("imp",), ("random", "magnitude", "snip", "grasp")):
        records = records_of(LTH, lambda cell, out=left_out: None if cell.method in out else world(cell))
        given = answer(Observations(LTH, records), 0.02)
        assert given is not None
        assert gain_text(given) == ""


def test_masks_alone_answer_no_question() -> None:
    masks = protocols.load("synflow/vgg16-cifar100-masks")
    store = Store(Path(__file__).parents[2] / "results")
    assert answer(Observations(masks, store.records(masks)), 0.02) is None


def test_what_is_missing_is_counted_once() -> None:
    """Two claims that rest on the same runs need them once; nothing is missing for what is decided."""
    seen = {p.id: Observations(LTH if p.id == LTH.id else p, []) for p in protocols.load_all()}
    (paper,) = [p for p in published.load_all() if p.paper.key == "zhou"]
    decisions = decide_paper(paper, seen)
    whole = missing_for(decisions, seen)
    assert whole == missing_for([*decisions, *decisions], seen)
    assert max(missing_for([d], seen).runs for d in decisions) <= whole.runs
    assert whole.runs <= sum(missing_for([d], seen).runs for d in decisions)
    assert whole.core_hours > 0
    assert missing_for([], seen).runs == 0
    assert missing_for([], seen).hours == ""


def test_cells_and_lists_are_cut_at_words() -> None:
    assert short("one two three", 9) == "one two…"
    assert short("one two", 9) == "one two"
    assert listed(["aa", "bb", "cc"], 10) == "aa, bb, cc"
    assert listed(["aa", "bb", "cccccccc"], 17) == "aa, bb, cccccccc"
    assert listed(["aa", "bb", "cccccccc"], 15) == "aa and 2 more"  # "aa, bb and 1 more" has 17
    assert listed(["a" * 30, "b"], 10) == f"{'a' * 30} and 1 more"  # the first name stands whatever its length
    assert as_cell("a | `b`\n<i>") == "a \\| 'b' &lt;i&gt;"
    assert as_foreign("[x](https://e.com) *b* www.e.com a@b.c |") == (
        "\\[x\\](https&#8203;://e.com) \\*b\\* www&#8203;.e.com a(at)b.c \\|"
    )
    assert table(["x", "n"], [["a", "1"]], 1) == "| x | n |\n| :-- | --: |\n| a | 1 |\n"
    page = "a\n" + table(["x", "n"], [["a \\| b", "1"], ["", "22"]], 1) + "b"
    assert aligned(page) == "a\n| x      |   n |\n| ------ | --: |\n| a \\| b |   1 |\n|        |  22 |\nb\n"
    assert len(table(["x"], [["word " * 100]]).splitlines()[2]) <= 120 + len("|  |")
