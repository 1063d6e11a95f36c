"""Error rates of all claims on LeNet together, under rules 2: how often a paper that is exactly right is confirmed, and
how often one that is wrong is. The table of docs/statistics.md is what this prints:

    python tests/support/lenet_worlds.py [--draws 400]

A world is a population: a mean for every cell, from which seeds are drawn with the spread of the records of version 1
(0.11 points from network to network, 0.16 of dense and at the sparsest; 15 % of an early stop, 35 % of dense's), a part
of it shared by all networks of a seed, a part by neighbouring rounds of a chain. `RIGHT` has every number that the
paper states; between them its curves are drawn through straight lines. In `NOTHING`, no network differs from dense. In
the worlds at the edge one claim is moved to the edge of its window, where neither word may come out more than alpha.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import click
import numpy as np
from tabulate import tabulate

from benchmark import protocols
from benchmark.claims import papers
from benchmark.claims.observations import Observations, Point
from benchmark.claims.published import Published
from benchmark.claims.verdicts import decide_paper
from benchmark.protocols import Protocol
from benchmark.protocols.cells import method_names
from benchmark.records.schema import Metric

STEP: Metric = "early-stop-step"
EARLY: Metric = "early-stop-accuracy"
LAST: Metric = "last-accuracy"
TRAIN: Metric = "train-accuracy"
Curve = Mapping[int, float]

# Points above dense at early stop, by level; what the paper's Section 2 states, and straight lines between.
ACCURACY: Mapping[str, Curve] = {
    "imp": {0: 0, 3: 0.2, 7: 0.3, 8: 0.33, 9: 0.36, 10: 0.33, 12: 0.2, 15: 0.0, 16: -0.1, 18: -0.35, 21: -0.9},
    "imp+reinit": {0: 0, 3: 0.12, 6: 0.05, 7: -0.2, 9: -0.3, 12: -0.55, 15: -1.0, 18: -1.9},
    "imp+shuffle": {0: 0, 7: -0.4, 12: -1.1, 18: -4.2},
    "one-shot": {0: 0, 2: 0.12, 6: 0.2, 9: 0.2, 12: 0.1, 13: 0.03, 14: -0.07, 15: -0.2, 18: -1.4},
    "random": {0: 0, 3: 0.0, 7: -0.35, 12: -1.0, 18: -3.0},
    "magnitude": {0: 0, 3: 0.0, 7: -0.4, 12: -1.0, 18: -2.9},
}
# Log of the ratio to dense's early stop.
TIME: Mapping[str, Curve] = {
    "imp": {0: 0, 3: -0.25, 7: math.log(0.62), 9: -0.38, 12: -0.2, 15: 0.0, 18: 0.36, 21: 0.8},
    "imp+reinit": {0: 0, 3: 0.1, 7: math.log(0.62 * 2.51), 9: 0.6, 12: 0.85, 15: 1.2, 18: 1.6},
    "one-shot": {0: 0, 2: -0.25, 6: -0.25, 7.8: 0.0, 9: 0.12, 12: 0.45, 14: 0.85, 18: 1.6},  # type: ignore[dict-item]
    "random": {0: 0, 7: 0.35, 12: 0.95, 18: 2.2},
    "magnitude": {0: 0, 7: 0.35, 12: 0.9, 18: 2.1},
}
# Standard deviations: of one network, of a dense one, of what a seed adds to all.
SPREAD: Mapping[Metric, tuple[float, float, float]] = {
    EARLY: (0.11, 0.16, 0.05),
    LAST: (0.11, 0.1, 0.05),
    STEP: (0.15, 0.35, 0.12),
}
DENSE_ACCURACY, DENSE_STEP = 98.0, 6000.0


def at(curve: Curve, level: float) -> float:
    """A curve between its points."""
    levels = sorted(curve)
    return float(np.interp(level, levels, [curve[x] for x in levels]))


@dataclass(frozen=True)
class Truth:
    """Means of every cell: points above dense and log ratios to it. `moved`: added at (metric, method, level)."""

    accuracy: Mapping[str, Curve] = field(default_factory=lambda: ACCURACY)
    time: Mapping[str, Curve] = field(default_factory=lambda: TIME)
    moved: Callable[[Metric, str, int], float] = lambda _metric, _method, _level: 0.0

    def mean(self, metric: Metric, method: str, level: int) -> float:
        """In percent; steps as logarithms."""
        more = self.moved(metric, method, level)
        if metric == TRAIN:
            return 99.97 + more
        if metric == STEP:
            return math.log(DENSE_STEP) + at(self.time.get(method, {0: 0.0}), level) + more
        return DENSE_ACCURACY + at(self.accuracy.get(method, {0: 0.0}), level) + more


RIGHT = Truth()
NOTHING = Truth(accuracy={}, time={})


class World(Observations):
    """Observations of a population, all of whose runs are made. Rounded as records are."""

    def __init__(self, protocol: Protocol, truth: Truth, rng: np.random.Generator, seeds: int | None = None) -> None:
        super().__init__(protocol, [])
        self._drawn: dict[tuple[Metric, Point], list[float]] = {}
        self._first = protocol.seeds if seeds is None else protocol.seeds[:seeds]
        for metric, own, dense, shared in (
            (EARLY, 0.11, 0.16, 0.05),
            (LAST, 0.11, 0.1, 0.05),
            (STEP, 0.15, 0.35, 0.12),
        ):
            common = shared * rng.standard_normal(len(protocol.seeds))
            share = 1 + len(protocol.dense_seeds) // len(protocol.seeds)
            for method in method_names(protocol):
                levels = [0] if method == "dense" else sorted(protocol.measured_levels(method))
                before = rng.standard_normal(len(protocol.seeds))
                for level in levels:
                    fresh = rng.standard_normal(len(protocol.seeds))
                    before = 0.3 * before + math.sqrt(1 - 0.3**2) * fresh  # neighbours of a chain are alike
                    sd = dense / math.sqrt(share) if method == "dense" else own * (1 if level < 14 else 1.4)
                    self._keep(metric, (method, level), truth.mean(metric, method, level) + common + sd * before)
                    if metric == LAST:
                        draws = truth.mean(TRAIN, method, level) + 0.02 * fresh
                        self._keep(TRAIN, (method, level), np.minimum(draws, 100.0))

    def _keep(self, metric: Metric, point: Point, drawn: np.ndarray) -> None:
        every = self.protocol.evaluation.every
        values = np.maximum(np.round(np.exp(drawn) / every), 1) * every if metric == STEP else np.round(drawn, 2)
        self._drawn[metric, point] = values.tolist()

    def at_look(self, seeds: int) -> Observations:
        """The same population's first seeds."""
        view = World.__new__(World)
        Observations.__init__(view, self.protocol, [])
        view._drawn, view._first = self._drawn, self.protocol.seeds[:seeds]
        return view

    def value(self, metric: Metric, point: Point, seed: int) -> float | None:
        """See `Observations`."""
        key = point if point[1] else ("dense", 0)
        return self._drawn[metric, key][self.protocol.seed_positions[seed]] if seed in self._first else None

    def by_seed(self, metric: Metric, point: Point) -> dict[int, float]:
        """See `Observations`."""
        key = point if point[1] else ("dense", 0)
        return dict(zip(self._first, self._drawn[metric, key], strict=False))

    def complete_seeds(self, metric: Metric, points: object) -> tuple[int, ...]:  # noqa: ARG002
        """All of them."""
        return self._first

    def missing(self, points: object) -> int:  # noqa: ARG002
        """No run."""
        return 0


def lenet_claims(protocol: Protocol) -> Published:
    """The paper with the claims on this protocol alone."""
    paper = papers.load("lth")
    return paper.model_copy(update={"claims": tuple(c for c in paper.claims if c.protocol == protocol.id)})


def verdicts(
    paper: Published, protocol: Protocol, truth: Truth, seeds: int, rng: np.random.Generator
) -> dict[str, str]:
    """Claim -> verdict in one world at so many seeds."""
    seen = World(protocol, truth, rng, seeds)
    return {d.claim: d.verdict for d in decide_paper(paper, {protocol.id: seen})}


def rates(truth: Truth, seeds: int, draws: int, only: Sequence[str] | None = None) -> dict[str, tuple[float, float]]:
    """Claim -> shares of worlds in which it is said to be reproduced and to deviate."""
    protocol = protocols.load("lth/lenet-mnist")
    paper, rng = lenet_claims(protocol), np.random.default_rng(seeds)
    if only is not None:
        paper = paper.model_copy(update={"claims": tuple(c for c in paper.claims if c.id in only)})
    found = [verdicts(paper, protocol, truth, seeds, rng) for _ in range(draws)]
    return {
        claim.id: (
            sum(f[claim.id] == "reproduced" for f in found) / draws,
            sum(f[claim.id] == "deviates" for f in found) / draws,
        )
        for claim in paper.claims
    }


@click.command()
@click.option("--draws", default=400, show_default=True, help="Worlds a row.")
def main(draws: int) -> None:
    """Print the table."""
    by_seeds = {n: rates(RIGHT, n, draws) for n in (3, 5, 8, 10)}
    rows = [[claim, *(cell for n in by_seeds for cell in by_seeds[n][claim])] for claim in by_seeds[10]]
    decided = [np.mean([r[0] for r in by_seeds[n].values()]) for n in by_seeds]
    print(tabulate(rows, ["claim", *(f"{w} {n}" for n in by_seeds for w in ("rep", "dev"))], floatfmt=".2f"))
    print("mean reproduced", dict(zip(by_seeds, np.round(decided, 3), strict=True)))


if __name__ == "__main__":
    main()
