"""Error rates by simulation for rules on masks, as tests/claims/test_error_rates.py does for trained networks.

Worlds are drawn from populations of known truth: that of the published runs, or exactly on the edge of the window,
where both words are wrong and each may come out in at most `ALPHA` of the draws.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from error_rates import ALPHA, RULE, SEEDS, most

from benchmark import protocols
from benchmark.claims.evidence import Item, ShareItem
from benchmark.claims.observations import Observations
from benchmark.claims.rules import collapse, layer_density
from benchmark.claims.rules.layer_density import level_step

VGG = protocols.load("synflow/vgg16-cifar100-masks")
LAYERS, SIZES = tuple(VGG.pruning.layer_sizes), tuple(VGG.pruning.layer_sizes.values())
DRAWS = 400
STEP = level_step(VGG)
MARGINS = VGG.statistics.margins
ALL_LEVELS = {"method": "snip", "levels": {"first": 1, "last": 24}}
ONE_LEVEL = {"method": "snip", "levels": [8]}
Mask = Callable[[int, int], Any]  # level, seed -> counts by layer, or the layers that are empty
Rates = Counter[str]


class World(Observations):
    """Masks of one method by a function, without the records that would hold them; or one score metric by seed."""

    def __init__(self, seeds: int, mask: Mask | None = None, values: Any = ()) -> None:
        super().__init__(VGG, [])
        self._seeds, self._numbers = tuple(range(seeds)), values
        self.records = Made(mask)  # type: ignore[assignment]

    def value(self, metric: Any, point: Any, seed: int) -> float | None:  # noqa: ARG002
        return float(self._numbers[seed])

    def complete_seeds(self, metric: Any, points: Any) -> tuple[int, ...]:  # noqa: ARG002
        return self._seeds

    def failed(self, points: Any) -> tuple[str, ...]:  # noqa: ARG002
        return ()


class Made(dict[tuple[str, int, int], list[Any]]):
    """What `Observations.records` gives of one mask, made when it is asked for."""

    def __init__(self, mask: Mask | None) -> None:
        super().__init__()
        self._mask = mask

    def __getitem__(self, key: tuple[str, int, int]) -> list[Any]:
        assert self._mask is not None
        _, level, seed = key
        return [SimpleNamespace(mask=self._mask(level, seed))]


def empty_layers(*names: str) -> Any:
    return SimpleNamespace(collapsed_layers=names)


def rates(rule: dict[str, Any], worlds: Iterator[World], draws: int = DRAWS) -> Rates:
    asked, counts = RULE.validate_json(json.dumps(rule)), Rates()
    for _ in range(draws):
        found = asked.evaluate(next(worlds))
        counts[found.verdict(ALPHA, found.p_reproduced, found.p_deviates)] += 1
    return counts


def held(found: Rates, draws: int = DRAWS) -> None:
    """Neither word comes out more often than its level allows."""
    assert max(found["reproduced"], found["deviates"]) <= most(draws), found


# Shares of seeds: emptied and first-empty

EMPTIED = {"rule": "emptied", "of": ONE_LEVEL, "expected": "empty"}
FIRST = {"rule": "first-empty", "of": ALL_LEVELS, "layers": ["conv9", "conv10"]}


def emptied(share: float, seeds: int) -> Iterator[World]:
    """A mask has an empty layer in this share of all seeds."""
    rng = np.random.default_rng([1, seeds])
    while True:
        gone = rng.random(seeds) < share
        yield World(seeds, lambda _level, seed, gone=gone: empty_layers("conv9") if gone[seed] else empty_layers())


def first_emptied(share: float, seeds: int) -> Iterator[World]:
    """In this share of all seeds one of the named layers goes first, in the others conv1; at some level each."""
    rng = np.random.default_rng([2, seeds])
    while True:
        at, named = rng.integers(10, 16, seeds), rng.random(seeds) < share

        def mask(level: int, seed: int, at: Any = at, named: Any = named) -> Any:
            return empty_layers() if level < at[seed] else empty_layers("conv10" if named[seed] else "conv1")

        yield World(seeds, mask)


SHARES = pytest.mark.parametrize(
    ("rule", "worlds"), [(EMPTIED, emptied), (FIRST, first_emptied)], ids=["emptied", "first"]
)


@SHARES
@pytest.mark.parametrize("seeds", SEEDS)
def test_a_share_on_its_edge_is_rarely_decided(rule: dict[str, Any], worlds: Any, seeds: int) -> None:
    held(rates(rule, worlds(0.5, seeds)))
    assert rates(rule, worlds(1.0, seeds), 20)["deviates"] == 0
    assert rates(rule, worlds(0.0, seeds), 20)["reproduced"] == 0


@SHARES
def test_five_seeds_of_five_decide_a_share(rule: dict[str, Any], worlds: Any) -> None:
    assert rates(rule, worlds(1.0, 5), 20) == {"reproduced": 20}
    assert rates(rule, worlds(0.0, 5), 20) == {"deviates": 20}
    assert rates(rule, worlds(1.0, 4), 20) == {"inconclusive": 20}  # as four throws of a coin may agree: 1 in 16


# Critical compression


def exponents(rng: np.random.Generator, mean: float, size: int) -> Any:
    """Critical exponents on the grid: rounded up or down at random, so that their mean is `mean`."""
    return np.clip(np.floor((mean + rng.normal(0, STEP / 4, size)) / STEP + rng.random(size)), 1, 24)


def collapses(monkeypatch: pytest.MonkeyPatch, seeds: int, off: float) -> Iterator[World]:
    """Published runs and ours around 10^3; ours `off` margins off the published mean, both as the rule takes them.

    So that only ours are left to chance: see `Collapse.items` for what an estimated margin does otherwise.
    """
    rng = np.random.default_rng([3, seeds])
    while True:
        runs = exponents(rng, 3.0, 3)
        table = {level: (tuple(float(level <= last) for last in runs),) for level in range(1, 25)}
        monkeypatch.setattr(collapse, "published_layers", lambda *_args, t=table: t[_args[3]])
        margin = max(MARGINS.density_rounds * STEP, MARGINS.seed_sd_multiple * STEP * float(np.std(runs, ddof=1)))
        centre = STEP * float(np.mean(runs)) if off else 3.0
        ours = exponents(rng, centre + off * margin, seeds)
        yield World(
            seeds, lambda level, seed, ours=ours: empty_layers() if level <= ours[seed] else empty_layers("conv1")
        )


COLLAPSE = {"rule": "collapse", "of": ALL_LEVELS, "table": "layers", "published": "snip"}


@pytest.mark.parametrize("seeds", SEEDS)
def test_critical_compressions_are_rarely_decided_wrongly(seeds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rates(COLLAPSE, collapses(monkeypatch, seeds, 0.0), 150)["deviates"] <= most(150)
    for off in (-1.0, 1.0):
        held(rates(COLLAPSE, collapses(monkeypatch, seeds, off), 150), 150)


# Densities by layer

NOISE = 0.05  # of a density, relative
DENSITY = {"rule": "layer-density", "of": ONE_LEVEL, "table": "layers", "published": "snip"}


def densities(monkeypatch: pytest.MonkeyPatch, seeds: int, ratio: float) -> Iterator[World]:
    """Published and own densities of every layer around a tenth; those of conv4 off by a ratio."""
    rng = np.random.default_rng([4, seeds])
    while True:
        theirs = 0.1 * np.exp(rng.normal(0, NOISE, (len(SIZES), 3)))
        monkeypatch.setattr(
            layer_density, "published_layers", lambda *_args, t=theirs: [tuple(row) for row in t.tolist()]
        )
        ours = 0.1 * np.exp(rng.normal(0, NOISE, (len(SIZES), seeds)))
        ours[3] *= ratio

        def mask(_level: int, seed: int, ours: Any = ours) -> Any:
            kept = {n: SimpleNamespace(kept=round(d * s)) for n, d, s in zip(LAYERS, ours[:, seed], SIZES, strict=True)}
            return SimpleNamespace(layers=kept)

        yield World(seeds, mask)


@pytest.mark.parametrize("seeds", SEEDS)
def test_densities_by_layer_are_rarely_decided_wrongly(seeds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = rates(DENSITY, densities(monkeypatch, seeds, 1.0), 60)
    assert inside["deviates"] <= most(60)
    assert seeds < 10 or inside["reproduced"] > 0.8 * 60
    for edge in (1 + MARGINS.ratio, 1 / (1 + MARGINS.ratio)):
        held(rates(DENSITY, densities(monkeypatch, seeds, edge), 60), 60)


# Properties of scores


def property_worlds(centre: float, noise: float, base: float | None, seeds: int) -> Iterator[World]:
    """One metric, normal on the scale on which it is tested: exponents of `base`, or as it is."""
    rng = np.random.default_rng([5, seeds])
    while True:
        drawn = rng.normal(centre, noise, seeds)
        yield World(seeds, values=drawn if base is None else base**drawn)


EXACT = math.log10(MARGINS.exact or 0)
PROPERTIES = [  # metric, within, base, noise, a centre at which it holds, edges
    ("unit-error", "exact", 10.0, 0.5, EXACT - 3, (EXACT,)),
    ("prune-to-cut", "below-1", math.e, 0.1, -0.5, (0.0,)),
    ("prune-to-cut", "above-1", math.e, 0.1, 0.5, (0.0,)),
    ("score-slope", "inverse", None, 0.05, -1.0, (-1 - MARGINS.ratio, -1 + MARGINS.ratio)),
]


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize(("metric", "within", "base", "noise", "inside", "edges"), PROPERTIES, ids=str)
def test_properties_of_scores_are_rarely_decided_wrongly(
    metric: str, within: str, base: float | None, noise: float, inside: float, edges: tuple[float, ...], seeds: int
) -> None:
    rule = {"rule": "score-property", "of": ONE_LEVEL, "metric": metric, "within": within}
    found = rates(rule, property_worlds(inside, noise, base, seeds))
    assert found["deviates"] <= most(DRAWS)
    assert seeds < 10 or found["reproduced"] > 0.8 * DRAWS
    for edge in edges:
        held(rates(rule, property_worlds(edge, noise, base, seeds)))


def test_these_simulations_would_find_a_share_tested_by_student(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three throws of a coin agree in a quarter of all worlds; Student's t on 0 and 1 took them for a certainty."""
    for side in ("p_inside", "p_outside"):
        monkeypatch.setattr(ShareItem, side, getattr(Item, side))
    found = rates(EMPTIED, emptied(0.5, 3))
    assert min(found["reproduced"], found["deviates"]) > most(DRAWS)
