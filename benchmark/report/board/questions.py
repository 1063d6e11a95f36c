"""Which method is best where few weights are left: by protocol and cost group, beside the dense network. No torch.

Every level of a protocol belongs to the question whose density is nearest (by ratio), if it is no farther than
`FARTHEST`; of a question's levels the one is shown at which most methods are measured, the nearest of those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from benchmark.claims import statistics
from benchmark.claims.observations import Observations, reported_metric
from benchmark.claims.statistics import Estimate, interval
from benchmark.claims.wording import number
from benchmark.protocols.cells import DENSE
from benchmark.report.board.markdown import listed, short
from benchmark.report.rankings import Standing, ranked_in, samples_at, spread, standing
from benchmark.report.taxonomy import COST_GROUPS, NOT_TRAINED, CostGroup, is_control, taxonomy

QUESTIONS = (0.10, 0.05, 0.02, 0.01)
"""Densities that are asked about."""
FARTHEST = 1.6
AT_INITIALIZATION: tuple[CostGroup, ...] = ("no data", "few examples")
"""Groups whose masks take no training, not of weights and not of scores."""
CANONICAL = ("lth/lenet-mnist",)
"""Protocols that come first wherever they are measured: the setting in which lottery tickets were found."""
ASKED_FIRST = (0.02, 0.05, 0.10)
"""Densities at which the gain of tickets is asked for, smallest first."""
LEAST_SEEDS = 3  # behind a gain that is shown: an interval of two says next to nothing
MOST_GAINS = 4  # that the first pages show
MOST_ALIKE = 36  # characters of names; all of them stand on the protocol's page
TICKETS = "imp"
"""The method whose gain over pruning at initialization is asked for."""


@dataclass(frozen=True)
class Gain:
    """Paired difference, in points, of iterative magnitude pruning and `over`, the best of `among` compared methods
    whose mask is decided at initialization, from few examples or none. That one was chosen for its mean, so the gain is
    rather too small than too large."""

    over: str
    among: int
    points: Estimate


@dataclass(frozen=True)
class BestMethods:
    """One protocol at one question. `best`: of each cost group its measured methods, best first."""

    question: float
    seen: Observations
    level: int
    dense: Standing | None
    best: dict[CostGroup, list[Standing]]
    gain: Gain | None

    @property
    def density(self) -> float:
        """Of the level that is shown."""
        return self.seen.protocol.level_table[self.level].density

    @property
    def trained(self) -> int:
        """Of how many cost groups a method is measured whose masked network is trained at the end."""
        return sum(
            any(not taxonomy(self.seen, s.method).weights.endswith(NOT_TRAINED) for s in found)
            for found in self.best.values()
        )

    @property
    def seeds_of_gain(self) -> int:
        """Seeds behind the gain, if they are enough to show it; else 0."""
        return self.gain.points.n if self.gain and self.gain.points.n >= LEAST_SEEDS else 0


def answer(seen: Observations, question: float) -> BestMethods | None:
    """What one protocol says at one density; None where nothing near it is measured, or nothing is trained."""
    if not seen.protocol.trains:
        return None
    measured: dict[int, int] = {}
    for method, level in {(method, level) for method, level, _ in seen.records if level}:
        if not is_control(seen.protocol, method) and seen.by_seed(reported_metric(seen.protocol), (method, level)):
            measured[level] = measured.get(level, 0) + 1
    off = {level: abs(log(seen.protocol.level_table[level].density / question)) for level in measured
           if nearest(seen.protocol.level_table[level].density) == question}  # fmt: skip
    if not off:
        return None
    level = min(off, key=lambda level: (-measured[level], off[level], level))
    best = {group: ranked_in(seen, group, level) for group in COST_GROUPS}
    return BestMethods(question, seen, level, standing(seen, DENSE, 0), best, _gain(seen, best, level))


def nearest(density: float) -> float | None:
    """The question that a density belongs to; None if all are too far."""
    if density <= 0:
        return None
    found = min(QUESTIONS, key=lambda question: abs(log(density / question)))
    return found if abs(log(density / found)) <= log(FARTHEST) else None


def _gain(seen: Observations, best: dict[CostGroup, list[Standing]], level: int) -> Gain | None:
    """Over the best of those that share two seeds with tickets or, where none does, of all: one seed is no mean."""
    early = [s for group in AT_INITIALIZATION for s in best[group]]
    samples = samples_at(seen, level, [TICKETS, *(s.method for s in early)])
    differences = {s.method: statistics.paired(samples.get(TICKETS, {}), samples[s.method]) for s in early}
    compared = [s for s in early if len(differences[s.method]) > 1] or [s for s in early if differences[s.method]]
    if not compared:
        return None
    over = max(compared, key=lambda s: (s.accuracy.mean, s.method)).method
    points = statistics.estimate(differences[over], seen.resolution(reported_metric(seen.protocol)))
    return Gain(over, len(compared), points)


def answers(seen: Sequence[Observations], question: float) -> list[BestMethods]:
    """Every protocol that says something: the canonical first, then by the gain that is asked for and by how many cost
    groups of trained networks stand beside each other; the number of methods counts for nothing."""
    found = [given for each in seen if (given := answer(each, question))]

    def place(given: BestMethods) -> tuple[bool, bool, int, int, str]:
        name = given.seen.protocol.id
        return (name not in CANONICAL, not given.seeds_of_gain, -given.trained, -given.seeds_of_gain, name)

    return sorted(found, key=place)


def headline_gains(seen: Sequence[Observations]) -> list[BestMethods]:
    """What iterative magnitude pruning gains at about 2 % of the weights, else at the next larger share at which a
    protocol measures it in enough seeds; for the first page of the board and of the HTML report."""
    for question in ASKED_FIRST:
        if found := [given for given in answers(seen, question) if given.seeds_of_gain]:
            return found[:MOST_GAINS]
    return []


def first_group(found: Sequence[Standing]) -> tuple[Standing, list[Standing]] | None:
    """The method of the highest mean, and the others of its group: those that it is not told apart from."""
    return (found[0], [s for s in found[1:] if s.rank == found[0].rank]) if found else None


def gain_text(given: BestMethods) -> str:
    """The gain with its interval, seeds, and over what; nothing where too few seeds have both."""
    if given.gain is None or not given.seeds_of_gain:
        return ""
    e, alpha = given.gain.points, given.seen.protocol.statistics.alpha
    low, high = interval(e, 1 - alpha)
    bounds = f" [{number(low, sign=True)}, {number(high, sign=True)}]"
    best = f", best of {given.gain.among}" if given.gain.among > 1 else ", the only one compared"
    return f"{number(e.mean, sign=True)}{bounds} ({e.n}) over {given.gain.over}{best}"


def best_text(given: BestMethods, group: CostGroup) -> str:
    """The best method with its accuracy, and those that are not told apart from it."""
    found = first_group(given.best[group])
    if found is None:
        return ""
    top, others = found
    accuracy = spread(top.accuracy, given.seen.protocol.statistics.alpha)
    alike = f"; alike: {listed([s.label for s in others], MOST_ALIKE)}" if others else ""
    return f"{short(top.label, 40)} {accuracy}{alike}"
