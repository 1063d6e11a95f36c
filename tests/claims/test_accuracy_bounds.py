"""A bound on an accuracy, such as "can fit random labels", in worlds where it is true, false, and at the edge."""

from __future__ import annotations

import pytest
from builders import Outcome, records_of

from benchmark import protocols
from benchmark.claims import papers
from benchmark.claims.observations import Observations
from benchmark.claims.verdicts import decide_paper
from benchmark.protocols.cells import Cell

PROTOCOL = protocols.load("snip/lenet-300-100-random-mnist")
NOISE = (0.2, -0.1, 0.3, -0.3, 0.0)


def decided(dense: float, pruned: float, seeds: int) -> dict[str, str]:
    """The words on the dense network and on the pruned one, whose training accuracies lie so."""

    def world(cell: Cell) -> Outcome | None:
        at = PROTOCOL.seeds.index(cell.seed)
        mean = dense if cell.method == "dense" else pruned
        return Outcome(10.0, 20_000, min(100.0, mean + NOISE[at])) if at < seeds else None

    paper = papers.load("snip")
    seen = {PROTOCOL.id: Observations(PROTOCOL, records_of(PROTOCOL, world))}
    decisions = {decision.claim: decision.verdict for decision in decide_paper(paper, seen)}
    return {part: decisions[f"snip-c3-lenet-300-100-{part}"] for part in ("dense", "pruned")}


@pytest.mark.parametrize(
    ("dense", "pruned", "words"),
    [
        (99.9, 30.0, ("reproduced", "reproduced")),
        (50.0, 99.9, ("deviates", "deviates")),
        (99.0, 99.0, ("inconclusive", "inconclusive")),
    ],
)
def test_a_network_fits_or_not(dense: float, pruned: float, words: tuple[str, str]) -> None:
    assert tuple(decided(dense, pruned, 5).values()) == words
    assert set(decided(dense, pruned, 0).values()) == {"not measured"}
