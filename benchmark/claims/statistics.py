"""Tests and intervals behind every verdict: t distributions throughout, never a bootstrap with few seeds.

An `Estimate` is a mean with its standard error. Whatever is decided is decided by comparing an estimate with
bounds. Papers report on finite grids (0.01 points of accuracy, 100 updates), so equal values from few seeds
do not mean zero spread: a standard deviation is never taken below that of rounding to the grid, step / sqrt(12).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import fmean
from typing import TypeVar

Row = TypeVar("Row")

SAME = 1e-12  # spread over mean below which values differ by the rounding of arithmetic only


@dataclass(frozen=True)
class Estimate:
    """A mean with standard error and degrees of freedom. With n = 1 the standard error is infinite.

    `identical`: all values are the same, so that `se` is of the grid they were read from and nothing measured.
    """

    mean: float
    se: float
    df: float
    n: int
    identical: bool = field(default=False, compare=False)

    @property
    def sd(self) -> float:
        """Standard deviation of one observation, se * sqrt(n)."""
        return self.se * math.sqrt(self.n)


def estimate(values: Sequence[float], resolution: float = 0.0) -> Estimate:
    """Mean of independent values, in their unit. `resolution`: step of the grid they were read from.

    Raises ValueError if there is no value or one that is not finite.
    """
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"an estimate needs finite values, got {list(values)}")
    n = len(values)
    if n == 1:
        return Estimate(float(values[0]), math.inf, 1.0, 1)
    own, mean = spread(values), fmean(values)
    sd = max(own, resolution / math.sqrt(12))
    return Estimate(mean, sd / math.sqrt(n), n - 1.0, n, own <= SAME * abs(mean))


def spread(values: Sequence[float]) -> float:
    """Standard deviation of at least two values, divisor n - 1; of equal values exactly 0.

    `statistics.stdev` is right to the last bit and ten times slower, which reading tables of runs and simulations feel.
    """
    first = values[0]  # differences from one of them: of equal values no rounding is left
    apart = [value - first for value in values]
    mean = math.fsum(apart) / len(apart)
    return math.sqrt(math.fsum((each - mean) ** 2 for each in apart) / (len(apart) - 1))


def known(mean: float, sd: float, n: int, df: float | None = None) -> Estimate:
    """A published mean of n runs with their standard deviation, which has `df` degrees of freedom (default n - 1)."""
    return Estimate(mean, sd / math.sqrt(n), n - 1.0 if df is None else df, n)


def shifted(e: Estimate, by: float) -> Estimate:
    """The estimate plus a constant without spread."""
    return replace(e, mean=e.mean + by)


def difference(a: Estimate, b: Estimate) -> Estimate:
    """a - b of independent samples, Welch-Satterthwaite degrees of freedom. n is a's."""
    variances = (a.se**2, b.se**2)
    total = sum(variances)
    if not math.isfinite(total):
        return Estimate(a.mean - b.mean, math.inf, 1.0, a.n)
    if total == 0:
        return Estimate(a.mean - b.mean, 0.0, a.df + b.df, a.n)
    df = total**2 / (variances[0] ** 2 / a.df + variances[1] ** 2 / b.df)
    return Estimate(a.mean - b.mean, math.sqrt(total), df, a.n, a.identical and b.se == 0)


def quantile(p: float, df: float) -> float:
    """Student's t quantile."""
    from scipy.special import stdtrit  # here: a third of a second that verbs without statistics do without

    return float(stdtrit(df, p))


def interval(e: Estimate, confidence: float) -> tuple[float, float]:
    """Two-sided t interval; infinite for one seed."""
    if not math.isfinite(e.se):
        return -math.inf, math.inf
    half = quantile((1 + confidence) / 2, e.df) * e.se
    return e.mean - half, e.mean + half


def p_above(e: Estimate, bound: float) -> float:
    """One-sided p value against "the true mean is at most `bound`"."""
    if bound == -math.inf:
        return 0.0
    if bound == math.inf or not math.isfinite(e.se):
        return 1.0
    if e.se == 0:
        return 0.0 if e.mean > bound else 1.0
    from scipy.special import stdtr

    return float(stdtr(e.df, -(e.mean - bound) / e.se))


def p_below(e: Estimate, bound: float) -> float:
    """One-sided p value against "the true mean is at least `bound`"."""
    return p_above(Estimate(-e.mean, e.se, e.df, e.n), -bound)


def p_inside(e: Estimate, low: float, high: float) -> float:
    """Two one-sided tests: small when the mean is shown to lie strictly between `low` and `high`."""
    if not math.isfinite(e.se):
        return 1.0
    return max(p_above(e, low), p_below(e, high))


def p_outside(e: Estimate, low: float, high: float) -> float:
    """Small when the mean is shown to lie outside; at most alpha exactly if the 1 - alpha interval lies outside.

    With one infinite bound a single side is tested, at full alpha.
    """
    sides = 2 if math.isfinite(low) and math.isfinite(high) else 1
    return min(1.0, sides * min(p_below(e, low), p_above(e, high)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the order given."""
    return [adjusted for (adjusted,) in holm_over_groups([[p] for p in p_values])]


def holm_over_groups(groups: Sequence[Sequence[float]]) -> list[list[float]]:
    """Holm over groups that hold only if every member does (claims of several checks), adjusted per member.

    A group's p value is its largest, so the largest adjusted member decides the group as Holm's procedure would.
    """
    worst = [max(group) for group in groups]
    adjusted: list[list[float]] = [[] for _ in groups]
    before = 0.0
    for rank, i in enumerate(sorted(range(len(groups)), key=lambda i: worst[i])):
        factor = len(groups) - rank
        adjusted[i] = [min(1.0, max(before, factor * p)) for p in groups[i]]
        before = max(before, factor * worst[i])
    return adjusted


def jackknife(statistic: Callable[[Sequence[Row]], float], rows: Sequence[Row], resolution: float = 0.0) -> Estimate:
    """A statistic of the whole sample with the spread of its leave-one-out pseudo-values (Tukey).

    The centre is the statistic itself. For crossings and maxima of a curve averaged over seeds; a row is one seed.
    """
    whole, n = statistic(rows), len(rows)
    if n == 1:
        return Estimate(whole, math.inf, 1.0, 1)
    pseudo = [n * whole - (n - 1) * statistic([*rows[:i], *rows[i + 1 :]]) for i in range(n)]
    return shifted(spread := estimate(pseudo, resolution), whole - spread.mean)


def seeds_needed(
    distance: float, sd: float, alpha: float, fixed_se: float = 0.0, power: float = 0.8, at_most: int = 1000
) -> int | None:
    """Smallest number of seeds at which a one-sided t test decides with `power`; None above `at_most`.

    `distance`: from the observed mean, taken as the truth, to the nearer bound, in the unit of `sd`, the standard
    deviation over seeds. `fixed_se`: what more seeds cannot lower (the published mean's standard error). The usual
    approximation distance = (t[1 - alpha] + t[power]) * se.
    """
    if distance <= 0 or not math.isfinite(sd):
        return None

    def decides(n: int) -> bool:
        factor = quantile(1 - alpha, n - 1) + quantile(power, n - 1)
        return distance >= factor * math.sqrt(sd**2 / n + fixed_se**2)

    if not decides(at_most):
        return None
    low, high = 2, at_most  # decides() is monotone in n
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle + 1, high)
    return low


def pooled_sd(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Standard deviation within groups, pooled, and its degrees of freedom. Raises ValueError if there are none."""
    df = sum(len(group) - 1 for group in groups)
    if df < 1:
        raise ValueError("a pooled standard deviation needs a group of at least two values")
    total = sum((value - fmean(group)) ** 2 for group in groups for value in group)
    return math.sqrt(total / df), df


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> list[float]:
    """a - b for the seeds that both have, by seed."""
    return [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]


def beaten(samples: Mapping[str, Mapping[int, float]], alpha: float, resolution: float) -> dict[str, set[str]]:
    """For each sample, those that it is significantly higher than.

    Paired two-sided t tests over common seeds, Holm's correction over all pairs; fewer than two common seeds
    cannot tell two samples apart.
    """
    pairs = list(combinations(samples, 2))
    found: list[tuple[float, float]] = []
    for a, b in pairs:
        values = paired(samples[a], samples[b])
        e = estimate(values, resolution) if len(values) > 1 else Estimate(0.0, math.inf, 1.0, 1)
        found.append((e.mean, p_outside(e, 0.0, 0.0)))
    lower: dict[str, set[str]] = {name: set() for name in samples}
    for (a, b), (mean, _), p in zip(pairs, found, holm([p for _, p in found]), strict=True):
        if p <= alpha:
            winner, loser = (a, b) if mean > 0 else (b, a)
            lower[winner].add(loser)
    return lower


def groups(samples: Mapping[str, Mapping[int, float]], alpha: float, resolution: float) -> list[list[str]]:
    """Samples from the highest mean down, in groups of which no two are told apart (`beaten`).

    A sample that is told apart from one of the group that it would join begins the next one. So none with a higher mean
    is in a later group than one with a lower mean, equal means go by name, and the first of a group was told apart from
    one of the group before; the others of it need not have been.
    """
    lower = beaten(samples, alpha, resolution)
    found: list[list[str]] = []
    for name in sorted(samples, key=lambda name: (-fmean(samples[name].values()), name)):
        if found and not any(name in lower[other] or other in lower[name] for other in found[-1]):
            found[-1].append(name)
        else:
            found.append([name])
    return found
