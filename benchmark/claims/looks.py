"""Nominal levels of tests at planned looks, so that all of them together keep the error level (rules 2).

Whoever looks after every seed and stops when a test comes out well is wrong far more often than alpha says: in 17 % of
worlds without effect at 2 to 10 seeds and 5 %. The plan says at which numbers of seeds is looked and how much of alpha
is spent by then (Lan & DeMets 1983, doi 10.1093/biomet/70.3.659); the nominal level of a look is that which spends its
share, given that no look before has rejected. Test statistics of growing samples are Brownian motion at times n / N;
its distribution among what has not been rejected is carried from look to look by numerical integration (Armitage,
McPherson & Rowe 1969, doi 10.2307/2343787). The levels hold for one-sided tests; that p values are those of t tests
instead of normal ones moves them little, see the simulations in docs/statistics.md. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from benchmark.protocols.statistics import PlannedLook

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

GRID = 401  # points of the integration; halving it moves levels by less than 1e-5
LOWEST = -9.0  # standard deviations; nothing is stopped on the lower side


def nominal_levels(looks: Sequence[PlannedLook], alpha: float) -> tuple[float, ...]:
    """The level of each look, by which a test of total level `alpha` spends it as planned.

    `alpha`: of this test, the protocol's or Holm's part of it; the plan's shares are those of the protocol's alpha.
    """
    total = looks[-1].spent
    return _levels(tuple(look.seeds for look in looks), tuple(look.spent / total for look in looks), alpha)


@lru_cache(maxsize=4096)
def _levels(seeds: tuple[int, ...], shares: tuple[float, ...], alpha: float) -> tuple[float, ...]:
    import numpy as np
    from scipy.special import ndtr, ndtri

    levels: list[float] = []
    grid, weights = (
        np.zeros(1),
        np.ones(1),
    )  # of the score z sqrt(n) among what goes on after the look before, and its probabilities
    for i, n in enumerate(seeds):
        wanted = alpha * (shares[i] - (shares[i - 1] if i else 0.0))
        more = n - (seeds[i - 1] if i else 0)
        bound = _bound(wanted, n, more, grid, weights) if i else float(-ndtri(wanted))
        levels.append(float(ndtr(-bound)))
        new = np.linspace(LOWEST, bound, GRID) * math.sqrt(n)
        gaps = new[:, None] - grid[None, :]
        density = np.exp(-(gaps**2) / (2 * more)) / math.sqrt(2 * math.pi * more)
        even = np.full(GRID, new[1] - new[0])
        even[[0, -1]] /= 2  # the trapezoid rule
        grid, weights = new, even * (density @ weights)
    return tuple(levels)


def _bound(wanted: float, n: int, more: int, grid: Array, weights: Array) -> float:
    """The z that `wanted` of all paths exceed at n seeds, `more` after the look before, none of them stopped yet."""
    from scipy.optimize import brentq
    from scipy.special import ndtr

    def beyond(z: float) -> float:
        return float((weights * ndtr(-(z * math.sqrt(n) - grid) / math.sqrt(more))).sum())

    return float(brentq(lambda z: beyond(z) - wanted, 0.0, -LOWEST, xtol=1e-10))
