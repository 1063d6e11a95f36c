"""Two samples of the same runs: a shift is told from rounding, and a sample that is too small decides nothing."""

from __future__ import annotations

import random
from dataclasses import dataclass
from statistics import fmean

import pytest
from builders import Outcome, record

from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell
from benchmark.sharing.bundle import fresh, samples
from benchmark.sharing.remeasure import CellComparison


def compared(protocol: Protocol, here: list[float], there: list[float]) -> list[CellComparison]:
    """Cells with these accuracies here and in a bundle."""
    cells = [Cell("random", 1, 0) for _ in here]
    pairs = zip(cells, there, here, strict=True)
    return [CellComparison(record(protocol, c, Outcome(a)), record(protocol, c, Outcome(b))) for c, a, b in pairs]


def reasons(protocol: Protocol, differences: list[float]) -> list[str]:
    """What is said of cells that differ by so many points here."""
    there = [60.0 + i for i in range(len(differences))]
    here = [a + d for a, d in zip(there, differences, strict=True)]
    return samples.reasons(samples.shifts(protocol, compared(protocol, here, there)))


def test_identical_cells_are_proved(tiny_protocol: Protocol) -> None:
    found = samples.shifts(tiny_protocol, compared(tiny_protocol, [60.0, 61.0], [60.0, 61.0]))
    assert not found
    assert "same bit for bit. 2 of 8 cells" in samples.excludes(found, 2, 8)


def test_a_constant_shift_is_found_inside_the_margin(tiny_protocol: Protocol) -> None:
    margin = tiny_protocol.statistics.margins.accuracy_points
    said = reasons(tiny_protocol, [-0.9 * margin] * 4)
    assert said
    assert all("a shift" in reason for reason in said)
    jittered = [-0.45 * margin + 0.02 * margin * i for i in (-1, 0, 1, 0, -1, 1)]
    assert any("a shift" in reason for reason in reasons(tiny_protocol, jittered))


def test_rounding_without_direction_is_believed_and_bounded(tiny_protocol: Protocol) -> None:
    margin = tiny_protocol.statistics.margins.accuracy_points
    noise = [0.1 * margin * sign for sign in (1, -1, 1, -1, 1, -1)]
    assert not reasons(tiny_protocol, noise)
    there = [60.0] * 6
    found = samples.shifts(tiny_protocol, compared(tiny_protocol, [60 + d for d in noise], there))
    assert "is not excluded" in samples.excludes(found, 6, 8)


def test_one_cell_of_other_bits_decides_nothing(tiny_protocol: Protocol) -> None:
    (first, *_) = reasons(tiny_protocol, [-0.01])
    assert "a larger --sample may decide" in first


def test_a_sample_is_proposed_that_may_decide(tiny_protocol: Protocol) -> None:
    margin = tiny_protocol.statistics.margins.accuracy_points
    (first, *_) = reasons(tiny_protocol, [margin, -margin, margin, -margin])
    assert "--sample " in first
    assert "shift" not in first


def test_honest_bundles_are_rarely_refused_for_a_shift() -> None:
    """At most about `ALPHA` of bundles from another processor, by simulation with a fixed generator."""
    rng, refused = random.Random(1), 0
    for _ in range(400):
        found = [samples._shift(v, [rng.gauss(0, 0.5) for _ in range(6)], 0.5) for v in samples.VALUES]
        refused += any(shift.is_one for shift in found)
    assert refused / 400 <= 2.5 * samples.ALPHA


@dataclass(frozen=True)
class Population:
    """A level's mean and spread over seeds."""

    mean: float
    sd: float

    def draw(self, rng: random.Random, count: int) -> list[float]:
        return [rng.gauss(self.mean, self.sd) for _ in range(count)]


@pytest.mark.parametrize(("loss", "least", "most"), [(0.0, 0.0, 0.03), (8.0, 0.95, 1.0)])
def test_fresh_seeds_tell_knowledge_of_seeds_from_luck(loss: float, least: float, most: float) -> None:
    """Five claimed seeds at two levels, two fresh ones: luck is rarely refused, eight spreads are nearly always."""
    rng, refused = random.Random(2), 0
    for _ in range(400):
        levels = {1: Population(90.0, 0.5), 2: Population(70.0, 0.5)}
        claims = {level: population.draw(rng, 5) for level, population in levels.items()}
        found = {level: [v - loss * 0.5 for v in population.draw(rng, 2)] for level, population in levels.items()}
        judged = fresh._judged(claims, found, 0.5)
        assert judged.cells == 4
        refused += bool(judged.reasons)
    assert least <= refused / 400 <= most


def test_without_spread_the_margin_stands_in() -> None:
    assert not fresh._judged({1: [90.0]}, {1: [90.4]}, 0.5).reasons
    assert fresh._judged({1: [90.0]}, {1: [89.0]}, 0.5).reasons
    assert f"{fmean([-1.0]):+.2f} points" in fresh._judged({1: [90.0, 90.0]}, {1: [89.0]}, 0.5).reasons[0]
