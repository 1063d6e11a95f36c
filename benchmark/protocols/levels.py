"""Pruning levels with exact counts. This module imports no torch, so plans and scores can use it.

A level is a density of the protocol with the number of weights that stay in each layer under layerwise
pruning. Level 0 is the dense network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

MOST_LEVELS = 255  # a chain's masks are stored as one byte a weight: how many levels it outlived


class IterativeRate(BaseModel):
    """Each round drops `rate` of what is left; a layer's rate is scaled by its `layer_rates` (LTH, Fig. 2)."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    rule: Literal["rate-per-round"]
    rate: float = Field(gt=0, lt=1)
    rounds: int = Field(gt=0, le=MOST_LEVELS)


class LinearSparsity(BaseModel):
    """Sparsity runs linearly from 0 to 1 over `rounds` networks; each layer drops int(sparsity * size).

    The last level keeps nothing: the one place where a density of 0 exists, because MNIST-1D's published
    schedule, linspace(0, 1, 100), ends there. Its network is constant, so nothing is trained.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    rule: Literal["linear-sparsity-to-1"]
    rounds: int = Field(gt=1, le=MOST_LEVELS)


class ListedDensities(BaseModel):
    """Densities given one by one, highest first, each in (0, 1]; counts are round(density * size)."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    rule: Literal["listed"]
    densities: list[Annotated[float, Field(gt=0, le=1)]] = Field(min_length=1, max_length=MOST_LEVELS)

    @field_validator("densities")
    @classmethod
    def _falling(cls, densities: list[float]) -> list[float]:
        if any(later > earlier for earlier, later in pairwise(densities)):
            raise ValueError("densities must be given highest first")
        return densities


LevelRule = Annotated[IterativeRate | LinearSparsity | ListedDensities, Field(discriminator="rule")]


@dataclass(frozen=True)
class Level:
    """One density of a protocol.

    `counts`: weights that stay per layer when the levels before were pruned one after another.
    `one_shot_counts`: the same total reached in one round from the dense network. They differ where layers
    have different rates: two rounds at half of 20 % keep 81 %, one round at half of 36 % keeps 82 %. None where
    one round cannot get there: it empties a layer of full rate before one of half rate has lost enough.
    """

    index: int
    kept: int
    prunable: int
    counts: Mapping[str, int]
    one_shot_counts: Mapping[str, int] | None

    @cached_property
    def density(self) -> float:
        """Fraction of prunable weights that stay, exactly `kept / prunable`."""
        return self.kept / self.prunable


def layerwise_counts(current: Mapping[str, int], total: int, rates: Mapping[str, float]) -> dict[str, int]:
    """Counts after one round that leaves `total` weights, layer l losing rate p * rates[l] of its weights.

    p solves sum_l current_l * (1 - p * rates_l) = total. Rates absent from `rates` are 1.
    Raises ValueError if a layer would have to lose more than it has.
    """
    surplus = sum(current.values()) - total
    if surplus == 0:
        return dict(current)
    # Whole numbers, all multiplied by `scale`: Fractions take ten times as long, and plans cut thousands of layers.
    exact = {name: Fraction(rate) for name, rate in rates.items() if name in current}
    scale = math.lcm(*(rate.denominator for rate in exact.values()))
    weight = {name: int(exact.get(name, 1) * scale) for name in current}
    removable = sum(count * weight[name] for name, count in current.items())
    if removable == 0 or surplus * max(weight[name] for name, count in current.items() if count) > removable:
        raise ValueError(
            f"{total} weights cannot be reached with these layer_rates: a layer would have to lose all it has"
        )
    # p = surplus / removable
    return _split(
        {name: count * (removable - surplus * weight[name]) for name, count in current.items()}, removable, total
    )


def _split(shares: Mapping[str, int], unit: int, total: int) -> dict[str, int]:
    """Round shares / unit to integers of sum `total`: floors first, then the largest remainders, first layer first."""
    counts = {name: share // unit for name, share in shares.items()}
    order = sorted(shares, key=lambda name: -(shares[name] % unit))  # sorted() is stable
    for name in order[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def materialise(rule: LevelRule, sizes: Mapping[str, int], rates: Mapping[str, float]) -> tuple[Level, ...]:
    """All levels of a protocol, dense first. `sizes`: prunable weights per layer."""
    levels = [Level(0, sum(sizes.values()), sum(sizes.values()), dict(sizes), dict(sizes))]
    for counts, one_shot in _counts(rule, sizes, rates):
        kept = sum(counts.values())
        levels.append(Level(len(levels), kept, levels[0].prunable, counts, one_shot))
    return tuple(levels)


def _counts(
    rule: LevelRule, sizes: Mapping[str, int], rates: Mapping[str, float]
) -> list[tuple[dict[str, int], dict[str, int] | None]]:
    pairs: list[tuple[dict[str, int], dict[str, int] | None]] = []
    current = dict(sizes)
    if isinstance(rule, LinearSparsity):
        for k in range(1, rule.rounds):
            counts = {name: size - size * k // (rule.rounds - 1) for name, size in sizes.items()}
            pairs.append((counts, counts))
        return pairs
    for total in _totals(rule, sizes, rates):
        current = layerwise_counts(current, total, rates)
        pairs.append((current, _one_shot(sizes, total, rates)))
    return pairs


def _one_shot(sizes: Mapping[str, int], total: int, rates: Mapping[str, float]) -> dict[str, int] | None:
    try:
        return layerwise_counts(sizes, total, rates)
    except ValueError:
        return None


def _totals(rule: IterativeRate | ListedDensities, sizes: Mapping[str, int], rates: Mapping[str, float]) -> list[int]:
    if isinstance(rule, ListedDensities):
        return [max(1, round(density * sum(sizes.values()))) for density in rule.densities]
    return [
        sum(round(size * (1 - rule.rate * rates.get(name, 1.0)) ** r) for name, size in sizes.items())
        for r in range(1, rule.rounds + 1)
    ]


def linear_totals(prunable: int, kept: int, rounds: int) -> list[int]:
    """Counts left after each of `rounds` rounds that drop equal numbers of weights, ending exactly at `kept`."""
    return [prunable - round((prunable - kept) * r / rounds) for r in range(1, rounds + 1)]


def exponential_totals(prunable: int, kept: int, rounds: int) -> list[int]:
    """Counts left after each of `rounds` rounds, density_r = density^(r / rounds), ending exactly at `kept`."""
    density = kept / prunable
    totals = [round(prunable * density ** (r / rounds)) for r in range(1, rounds)]
    return [*totals, kept]
