"""Error rates by simulation: how often each rule says `reproduced` or `deviates` where it must not.

Worlds are drawn from populations whose truth is known: identical to what is published, or exactly on the edge of the
window, the least favourable place, where both words are wrong and each may come out in at most `ALPHA` of the draws.
Bounds are binomial: a rule that keeps its level exactly fails one of these tests with probability 1e-4. Seeded, so a
failure is the code's, not chance's. Noise has the size of real runs: 0.1 points, 15 % of a step.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from error_rates import ALPHA, RULE, SEEDS, most
from judging import paper_of
from scipy import special, stats

from benchmark import protocols
from benchmark.claims.evidence import Item, LargestItem
from benchmark.claims.observations import Observations, Point
from benchmark.claims.rules.value import Curve
from benchmark.claims.verdicts import decide_paper
from benchmark.protocols import Protocol
from benchmark.records.schema import Metric

DRAWS = 500
ACCURACY, STEP = "early-stop-accuracy", "early-stop-step"
NOISE = 0.1  # points, of one network
COMMON = 0.1  # points that a seed adds to all its networks
LTH, MNIST1D = protocols.load("lth/lenet-mnist@1"), protocols.load("mnist1d/mlp")
CHAIN = {"method": "imp", "levels": {"first": 5, "last": 13}}
DENSE = {"method": "dense"}
MARGIN = LTH.statistics.margins.accuracy_points
RATIO = 1 + LTH.statistics.margins.ratio


def of_level(level: int) -> dict[str, Any]:
    return {"method": "imp", "levels": [level]}


IMP = of_level(7)
Truth = Callable[[str, int], float]  # method, level -> accuracy in percent, or step


class World(Observations):
    """Observations drawn from a population: `truth` plus what a seed adds to all its networks, plus noise of its own.

    Rounded as records are: accuracies to 0.01 points, steps to the evaluation interval, on which noise is relative.
    """

    def __init__(self, protocol: Protocol, truth: Truth, seeds: int, rng: np.random.Generator) -> None:
        super().__init__(protocol, [])
        self._truth, self._rng, self._seeds = truth, rng, tuple(range(seeds))
        self._shared = rng.standard_normal(seeds)
        self._drawn: dict[tuple[Metric, Point], list[float]] = {}

    def _population(self, metric: Metric, point: Point) -> list[float]:
        found = self._drawn.get((metric, point))
        if found is None:
            method, level = point if point[1] else ("dense", 0)
            if (method, level) != point:  # every method's level 0 is the dense network
                found = self._population(metric, (method, level))
            else:
                noise = COMMON * self._shared + NOISE * self._rng.standard_normal(len(self._seeds))
                truth, every = self._truth(method, level), self.protocol.evaluation.every
                exact = (
                    np.round(truth * np.exp(noise) / every) * every if metric == STEP else np.round(truth + noise, 2)
                )
                found = exact.tolist()
            self._drawn[metric, point] = found
        return found

    def value(self, metric: Metric, point: Point, seed: int) -> float | None:
        return self._population(metric, point)[seed]

    def by_seed(self, metric: Metric, point: Point) -> dict[int, float]:
        return dict(enumerate(self._population(metric, point)))

    def complete_seeds(self, metric: Metric, points: Any) -> tuple[int, ...]:  # noqa: ARG002
        return self._seeds


def flat(gap: float) -> Truth:
    """imp lies `gap` above dense, which is at 98 %."""
    return lambda method, _level: 98.0 + gap * (method == "imp")


def steps(ratio: float) -> Truth:
    """imp stops at `ratio` times dense's 20,000 updates."""
    return lambda method, _level: 20_000.0 * (ratio if method == "imp" else 1.0)


def falling(crossing: float, slope: float = 0.15) -> Truth:
    """imp falls through dense at a level."""
    return lambda method, level: 98.0 if method == "dense" else 98.0 + slope * (crossing - level)


def hill(extra: float) -> Truth:
    """Levels 7 to 9 lie `extra` above all others."""
    return lambda method, level: 98.0 + (extra if method == "imp" and 7 <= level <= 9 else 0.0)


class Quick(World):
    """A world in which no run is missing, without counting."""

    def missing(self, points: Any) -> int:  # noqa: ARG002
        return 0


@dataclass(frozen=True)
class Case:
    """A rule, whose published numbers may be drawn anew, with a world in which it holds (`inside`: the population is
    the published one) and worlds on the edges of its window."""

    name: str
    rule: Callable[[np.random.Generator], dict[str, Any]]
    inside: Truth
    edges: tuple[Truth, ...]
    protocol: Protocol = LTH


def published_sample(rng: np.random.Generator) -> dict[str, Any]:
    return {"values": np.round(rng.normal(98.0, np.hypot(NOISE, COMMON), 5), 2).tolist()}


def fixed(**rule: Any) -> Callable[[np.random.Generator], dict[str, Any]]:
    return lambda _rng: rule


CASES = (
    Case(
        "value",
        lambda rng: {"rule": "value", "metric": ACCURACY, "of": IMP, "published": published_sample(rng)},
        flat(0.0),
        (flat(MARGIN), flat(-MARGIN)),
    ),
    Case(
        "difference",
        fixed(rule="difference", metric=ACCURACY, higher=IMP, lower=DENSE, published=0.3, bound="equal"),
        flat(0.3),
        (flat(0.3 + MARGIN), flat(0.3 - MARGIN)),
    ),
    Case(
        "difference at least",
        fixed(rule="difference", metric=ACCURACY, higher=IMP, lower=DENSE, published=0.3, bound="at-least"),
        flat(0.3),
        (flat(0.3 - MARGIN),),
    ),
    Case(
        "largest gain",
        fixed(rule="largest-gain", metric=ACCURACY, of=CHAIN, published=0.3),
        hill(0.3),
        (hill(0.3 + MARGIN), flat(0.3 + MARGIN), flat(0.3 - MARGIN)),
    ),
    Case(
        "ratio",
        fixed(rule="ratio", metric=STEP, numerator=IMP, denominator=DENSE, published=0.6),
        steps(0.6),
        (steps(0.6 * RATIO), steps(0.6 / RATIO)),
    ),
    Case("ordering", fixed(rule="ordering", metric=ACCURACY, higher=IMP, lower=DENSE), flat(0.5), (flat(0.0),)),
    Case("ordering of steps", fixed(rule="ordering", metric=STEP, higher=DENSE, lower=IMP), steps(0.6), (steps(1.0),)),
    Case(
        "ordering everywhere",
        fixed(rule="ordering", metric=ACCURACY, higher=CHAIN, lower=DENSE, width=3),
        flat(0.5),
        (flat(0.0),),
    ),
    Case(
        "peak",
        fixed(rule="peak", metric=ACCURACY, of=CHAIN, extreme="highest", window={"first": 7, "last": 9}),
        hill(0.5),
        (hill(0.0),),
    ),
    Case(
        "threshold",
        fixed(rule="threshold", metric=ACCURACY, of=CHAIN, before="above", published=[10, 10]),
        falling(10.0),
        (falling(11.0), falling(9.0)),
    ),
)  # fmt: skip


CURVE = {"rule": "curve", "metric": "last-accuracy", "table": "drawn", "setting": "drawn", "published": ["imp"]}
SPREADS = {
    "pooled": {"width": 5, "spread": "pooled"},
    "own": {"spread": "own"},
}  # as MNIST-1D's and as SynFlow's curves


def drawn_curve(rng: np.random.Generator, spread: str) -> dict[int, tuple[float, ...]]:
    """A published curve of imp's levels 1 to 10 in a paper whose networks all have 70 %: two trials each, or three
    whose spread grows threefold along the curve."""
    size = np.hypot(NOISE, COMMON) * (1.0 if spread == "pooled" else np.linspace(1, 3, 10)[:, None])
    noise = rng.normal(70.0, size, (10, 2 if spread == "pooled" else 3))
    return {level: tuple(trials) for level, trials in enumerate(noise.round(2).tolist(), start=1)}


def rates(case: Case, truth: Truth, seeds: int) -> dict[str, int]:
    """How often each verdict comes out of `DRAWS` worlds."""
    rng = np.random.default_rng([seeds, *case.name.encode()])
    counts = {"reproduced": 0, "deviates": 0, "inconclusive": 0}
    for _ in range(DRAWS):
        rule = RULE.validate_json(json.dumps(case.rule(rng)))
        found = rule.evaluate(World(case.protocol, truth, seeds, rng))
        counts[found.verdict(ALPHA, found.p_reproduced, found.p_deviates)] += 1
    return counts


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_false_verdicts_stay_within_their_level(case: Case, seeds: int) -> None:
    inside = rates(case, case.inside, seeds)
    assert inside["deviates"] <= most(DRAWS)
    for edge in case.edges:
        found = rates(case, edge, seeds)
        assert found["reproduced"] <= most(DRAWS), found
        assert found["deviates"] <= most(DRAWS), found


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("seeds", SEEDS)
def test_false_verdicts_on_curves(seeds: int, spread: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seeds)
    monkeypatch.setattr(Curve, "published_runs", lambda _rule, _protocol: drawn_curve(rng, spread))
    rule = {**CURVE, **SPREADS[spread], "of": {"method": "imp", "levels": {"first": 1, "last": 10}}}
    case = Case("curve", fixed(**rule), lambda *_: 70.0, (), MNIST1D)
    assert rates(case, lambda *_: 70.0, seeds)["deviates"] <= most(DRAWS)
    for edge in (70.0 + MARGIN, 70.0 - MARGIN):
        found = rates(case, lambda *_, at=edge: at, seeds)
        assert max(found["reproduced"], found["deviates"]) <= most(DRAWS), found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ten_seeds_find_what_is_there(case: Case) -> None:
    """A rule that never says anything would keep every level."""
    assert rates(case, case.inside, 10)["reproduced"] > 0.8 * DRAWS


@pytest.mark.parametrize("seeds", SEEDS)
def test_a_paper_of_orderings_falsely_decides_at_most_one_in_twenty(seeds: int) -> None:
    """Holm's correction over the paper: six claims on six levels, none of which differs from dense."""
    rules = [[{"rule": "ordering", "metric": ACCURACY, "higher": of_level(lv), "lower": DENSE}] for lv in range(1, 7)]
    paper, rng, draws = paper_of(*rules), np.random.default_rng([17, seeds]), 150
    wrong = {"reproduced": 0, "deviates": 0}
    for _ in range(draws):
        verdicts = {d.verdict for d in decide_paper(paper, {LTH.id: Quick(LTH, flat(0.0), seeds, rng)})}
        for verdict in wrong:
            wrong[verdict] += verdict in verdicts
    assert max(wrong.values()) <= most(draws), wrong


@pytest.mark.parametrize("shortcut", ["normal quantiles", "the highest level alone"])
def test_these_simulations_would_find_a_rule_that_is_too_bold(shortcut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known mistakes: a normal in place of Student's t, and a maximum tested as if it had been chosen beforehand."""
    if shortcut == "normal quantiles":
        monkeypatch.setattr(special, "stdtr", lambda _df, t: stats.norm.cdf(t))
        case = next(case for case in CASES if case.name == "ordering")
    else:
        monkeypatch.setattr(LargestItem, "p_inside", Item.p_inside)
        case = next(case for case in CASES if case.name == "largest gain")
    assert max(rates(case, edge, 3)["reproduced"] for edge in case.edges) > most(DRAWS)
