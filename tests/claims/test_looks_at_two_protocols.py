"""Planned looks of a claim that compares networks of two protocols, of which the other one goes on being measured."""

from __future__ import annotations

from builders import Outcome, records_of

from benchmark import protocols
from benchmark.claims import papers
from benchmark.claims.observations import Observations
from benchmark.claims.verdicts import Decision, decide_paper
from benchmark.protocols.cells import Cell

RATE_40, LENET = protocols.load("lth/lenet-rate40-mnist"), protocols.load("lth/lenet-mnist")
(CLAIM,) = (claim for claim in papers.load("lth").claims if claim.id == "lth-52")
PAPER = papers.load("lth").model_copy(update={"claims": (CLAIM.model_copy(update={"after": None}),)})
NOISE = (0.03, -0.05, 0.02, 0.04, -0.04, 0.01, -0.02, 0.05, -0.03, 0.0)


def decided(own_seeds: int, other_seeds: int, later: float = 0.0) -> Decision:
    """Tickets of 40 % a round are 0.5 points worse. `later`: points that the other protocol's seeds gain from the
    fourth on."""

    def own(cell: Cell) -> Outcome | None:
        place = RATE_40.seeds.index(cell.seed)
        return Outcome(97.5 + NOISE[place], 5000) if place < own_seeds else None

    def other(cell: Cell) -> Outcome | None:
        place = LENET.seeds.index(cell.seed)
        return Outcome(98.0 + NOISE[::-1][place] + later * (place > 2), 5000) if place < other_seeds else None

    seen = {
        RATE_40.id: Observations(RATE_40, records_of(RATE_40, own, ["imp"])),
        LENET.id: Observations(LENET, records_of(LENET, other, ["imp"])),
    }
    (decision,) = decide_paper(PAPER, seen)
    return decision


def test_a_look_takes_as_many_seeds_of_the_other_protocol_and_later_ones_change_nothing() -> None:
    at_three = decided(3, 3)
    assert at_three.verdict == "reproduced"
    for more in (4, 8, 10):
        assert decided(3, more, later=-3.0) == at_three
    assert decided(5, 10, later=-3.0).verdict == "reproduced"  # what was decided at a look stays


def test_before_the_other_protocol_has_the_seeds_of_a_look_nothing_is_tested() -> None:
    for others in (1, 2):
        early = decided(5, others)
        assert (early.verdict, early.needed_words) == ("inconclusive", "next look at 3 seeds")
        assert all(check.p_reproduced is None for check in early.checks)
    assert decided(5, 0).verdict == "not measured"
