"""Samples by seed, paired differences, margins and places: what the rules are evaluated with.

Which cells a rule speaks of: a method at some levels. Level 0 is the dense network. No torch.

Arithmetic on curves over levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Annotated, Self, TypeVar

from pydantic import Field, model_validator

from benchmark.claims import statistics
from benchmark.claims.observations import Observations, Point
from benchmark.claims.statistics import Estimate
from benchmark.protocols.cells import DENSE, density_text
from benchmark.records.schema import Metric
from benchmark.utils.strict_model import Frozen


class TableRow(Frozen):
    """A row of one of the paper's result tables (results/<key>.yaml), by its key; `x` in the paper's own unit."""

    table: str
    setting: str
    method: str
    x: float | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    column: str | None = Field(default=None, description="value column, where the table has several")

    @property
    def words(self) -> str:
        """The key in words."""
        parts = [self.setting, self.method, "no density" if self.x is None else f"{self.x:g}", *self.labels.values()]
        return ", ".join([*parts, *([self.column] if self.column else [])])


class Sample(Frozen):
    """A published mean: raw values, or mean with sd and n, or a constant without spread.

    `row`: the row of a result table that the numbers are taken from. Loading compares them with it, and refuses a row
    that is secondary or otherwise no target.

    `sd` beside `values` replaces their own: two values say little about a spread that 99 other pairs of the same
    paper tell well. `sd_df`: degrees of freedom of `sd`, default n - 1. `sd` without n, as where a paper does not say
    how many runs it made: the margin takes it, and the mean counts as a constant.
    """

    values: tuple[float, ...] | None = None
    mean: float | None = None
    sd: float | None = Field(default=None, ge=0)
    n: int | None = Field(default=None, gt=0)
    sd_df: int | None = Field(default=None, gt=0)
    row: TableRow | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.values is None) == (self.mean is None):
            raise ValueError("give either values or mean")
        if self.values is not None and (self.n is not None or len(self.values) < 1):
            raise ValueError("values carry their own n")
        if self.values is None and self.sd is None and self.n is not None:
            raise ValueError("n needs sd")
        if self.sd_df is not None and (self.sd is None or (self.values is None and self.n is None)):
            raise ValueError("sd_df needs sd, of values or of n runs")
        return self


class Span(Frozen):
    """Every level from `first` to `last`."""

    first: int = Field(ge=0)
    last: int = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"last {self.last} is below first {self.first}")
        return self


Levels = Annotated[tuple[int, ...], Field(min_length=1)] | Span


def listed(levels: Levels) -> tuple[int, ...]:
    """Levels one by one."""
    return tuple(range(levels.first, levels.last + 1)) if isinstance(levels, Span) else levels


class Points(Frozen):
    """A method at some levels. Level 0 of any method is the dense network."""

    method: str
    levels: Levels = (0,)

    @property
    def cells(self) -> tuple[tuple[str, int], ...]:
        """(method, level) pairs."""
        return tuple((self.method if level else "dense", level) for level in listed(self.levels))


T = TypeVar("T")


def blocks(items: Sequence[T], width: int) -> list[list[T]]:
    """Consecutive groups of `width`; the last one may be shorter."""
    return [list(items[i : i + width]) for i in range(0, len(items), width)]


def mean_curve(curves: Sequence[Sequence[float]]) -> list[float]:
    """Average of curves that have the same points."""
    return [fmean(column) for column in zip(*curves, strict=True)]


def pooled_sd(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Standard deviation within groups, pooled, and its degrees of freedom. Raises ValueError if there are none."""
    df = sum(len(group) - 1 for group in groups)
    if df < 1:
        raise ValueError("a pooled standard deviation needs a group of at least two values")
    total = sum((value - fmean(group)) ** 2 for group in groups for value in group)
    return math.sqrt(total / df), df


def interpolated(levels: Sequence[int], values: Sequence[float], x: float) -> float:
    """The curve at level x, linear between levels; the end values beyond them."""
    if x <= levels[0]:
        return values[0]
    for left, right, a, b in zip(levels, levels[1:], values, values[1:], strict=False):
        if x <= right:
            return a + (b - a) * (x - left) / (right - left)
    return values[-1]


def crossing(levels: Sequence[int], gains: Sequence[float]) -> float:
    """The level beyond which a curve stays below zero, linear between levels.

    The last level if it ends at or above zero. The first value is dense against dense, 0, so a curve below zero
    from its first level on crosses at level 0.
    """
    last = max((i for i, gain in enumerate(gains) if gain >= 0), default=0)
    if last == len(levels) - 1:
        return float(levels[-1])
    a, b = gains[last], gains[last + 1]
    return levels[last] + (levels[last + 1] - levels[last]) * max(a, 0.0) / (max(a, 0.0) - b)


DENSE_POINT: Point = (DENSE, 0)


def accuracy_margin(seen: Observations, metric: Metric, published_sd: float | None) -> float:
    """Points: the larger of the fixed margin and twice the published seed sd, or the dense measured one.

    Where the measured one decides, the margin is itself estimated, and the error level does not hold on its edge: with
    a seed sd of 0.7 points 10 to 18 % of simulated worlds at twice the true sd are decided. Of LeNet, the only network
    with records, the seed sd stays below half the fixed margin; of networks not measured yet it is not known.
    """
    margins = seen.protocol.statistics.margins
    if published_sd is None:
        dense = list(seen.by_seed(metric, DENSE_POINT).values())
        published_sd = stdev(dense) if len(dense) > 1 else 0.0
    return max(margins.accuracy_points, margins.seed_sd_multiple * published_sd)


def sample_of(sample: Sample) -> tuple[Estimate, float | None]:
    """A published mean as an estimate, and its seed sd if it is published."""
    if sample.values is not None:
        own = statistics.estimate(sample.values) if len(sample.values) > 1 else None
        if sample.sd is None:
            return (own, own.sd) if own else (Estimate(sample.values[0], 0.0, 1.0, 1), None)
        return statistics.known(fmean(sample.values), sample.sd, len(sample.values), sample.sd_df), sample.sd
    assert sample.mean is not None  # the model's validator sees to it
    if sample.sd is None or sample.n is None:
        return Estimate(sample.mean, 0.0, 1.0, 1), sample.sd
    return statistics.known(sample.mean, sample.sd, sample.n, sample.sd_df), sample.sd


def rows(seen: Observations, metric: Metric, point: Point, seeds: Sequence[int]) -> list[float]:
    """One value per seed; steps on the log scale."""
    values = [seen.value(metric, point, seed) for seed in seeds]
    found = [value for value in values if value is not None]
    assert len(found) == len(seeds)  # `seeds` are those that have every point
    return [seen.logarithm(value) for value in found] if metric == "early-stop-step" else found


def averages(seen: Observations, metric: Metric, points: Sequence[Point], seeds: Sequence[int]) -> list[float]:
    """One value per seed: the mean over some points."""
    return mean_curve([rows(seen, metric, point, seeds) for point in points])


def resolution(seen: Observations, metric: Metric, points: Sequence[Point], seeds: Sequence[int]) -> float:
    """Grid step of the metric on the scale of `rows`: relative to the smallest value for steps."""
    step = seen.resolution(metric)
    if metric != "early-stop-step":
        return step
    return step / math.exp(min(min(rows(seen, metric, point, seeds)) for point in points))


def pairs(higher: Points, lower: Points) -> list[tuple[Point, Point]]:
    """Level by level; a single cell stands against all of the other side."""
    a, b = list(higher.cells), list(lower.cells)
    length = max(len(a), len(b))
    return list(zip(a * (length // len(a)), b * (length // len(b)), strict=True))


def paired(seen: Observations, metric: Metric, pairs: Sequence[tuple[Point, Point]], seeds: Sequence[int]) -> Estimate:
    """Mean over pairs of (first - second) within each seed."""
    first = averages(seen, metric, [a for a, _ in pairs], seeds)
    second = averages(seen, metric, [b for _, b in pairs], seeds)
    per_seed = [x - y for x, y in zip(first, second, strict=True)]
    return statistics.estimate(per_seed, resolution(seen, metric, [p for pair in pairs for p in pair], seeds))


def where(seen: Observations, points: Sequence[Point]) -> str:
    """Densities of some cells in the paper's unit, of the pruned ones if there are any."""
    levels = [level for _, level in points if level] or [level for _, level in points]
    texts = [density_text(seen.protocol, level) for level in (min(levels), max(levels))]
    return f"at {texts[0]}" if texts[0] == texts[1] else f"at {texts[0]} to {texts[1]}"


def place(seen: Observations, pairs: Sequence[tuple[Point, Point]]) -> str:
    """Where pairs of cells lie, by the pruned side."""
    return where(seen, [a if a[1] else b for a, b in pairs])
