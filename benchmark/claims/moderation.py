"""Variances of few seeds, moderated by those of the cells around them (rules 2).

Three seeds tell a variance within a factor of six; a chain has twenty cells whose networks differ from seed to seed by
much the same amount. Smyth (2004, doi 10.2202/1544-6115.1027) takes the cells' variances as drawn from a scaled inverse
chi-squared distribution with `d0` degrees of freedom around `s0^2`, estimates both from their spread, and gives every
test the variance (d0 s0^2 + d s^2) / (d0 + d) with d0 + d degrees of freedom. Where cells differ much, d0 comes out
small and each test keeps its own variance.

What a seed adds to all its networks is taken out of the cells' variances, as pairing by seed takes it out of every
contrast. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from benchmark.claims.statistics import Estimate

FEWEST_CELLS = 4  # below that, d0 itself is hardly known


@dataclass(frozen=True)
class Prior:
    """What the cells around say of a variance: `s0` squared, with `d0` degrees of freedom (0: nothing).

    `most`: degrees of freedom of all cells together, which no moderated test exceeds.
    """

    variance: float
    df: float
    most: float


NO_PRIOR = Prior(0.0, 0.0, math.inf)


def cell_variances(values: Sequence[Sequence[float]]) -> tuple[list[float], float]:
    """(variance of each cell without what a seed adds to all, degrees of freedom of each).

    `values`: one row per cell, one column per seed. Two-way residuals: value - mean of cell - mean of seed + mean.
    """
    cells, seeds = len(values), len(values[0])
    rows = [[value - fmean(row) for value in row] for row in values]
    shared = [fmean(column) for column in zip(*rows, strict=True)]
    df = (seeds - 1) * (cells - 1) / cells
    return [sum((x - b) ** 2 for x, b in zip(row, shared, strict=True)) / df for row in rows], df


def prior(variances: Sequence[float], df: float) -> Prior:
    """Fit of variances with `df` degrees of freedom each, all positive, by the moments of their logarithms."""
    if len(variances) < FEWEST_CELLS or df <= 0:
        return NO_PRIOR
    from scipy.special import digamma, polygamma

    e = [math.log(v) - float(digamma(df / 2)) + math.log(df / 2) for v in variances]
    excess = variance(e) - float(polygamma(1, df / 2))
    most = len(variances) * df
    if excess <= 0:
        return Prior(fmean(variances), most, most)
    d0 = 2 * _inverse_trigamma(excess)
    s0 = math.exp(fmean(e) + float(digamma(d0 / 2)) - math.log(d0 / 2))
    return Prior(s0, min(d0, most), most)


def _inverse_trigamma(y: float) -> float:
    """x with trigamma(x) = y, by bisection of a falling function, until no number lies between."""
    from scipy.special import zeta

    low, high = 1e-8, 1e8
    while low < (middle := math.sqrt(low * high)) < high:
        # trigamma is Hurwitz' zeta function of 2; `polygamma` takes nine times as long for one number
        low, high = (middle, high) if float(zeta(2.0, middle)) > y else (low, middle)
    return middle


def moderated(e: Estimate, squared_weights: float, found: Prior) -> Estimate:
    """The estimate of a contrast over seeds with its variance moderated.

    `squared_weights`: the sum of its squared weights, by which a cell's variance becomes that of the contrast.
    """
    if not found.df or e.n < 2 or not math.isfinite(e.se):
        return e
    own = e.n * e.se**2
    df = found.df + e.df
    pooled = (found.df * found.variance * squared_weights + e.df * own) / df
    return Estimate(e.mean, math.sqrt(pooled / e.n), min(df, found.most), e.n)
