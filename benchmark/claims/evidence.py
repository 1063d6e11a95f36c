"""Evidence on one check: estimates with the window in which each must lie for the claim to hold, and their verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from benchmark.claims import statistics
from benchmark.claims.statistics import Estimate

Verdict = Literal["reproduced", "deviates", "contradicted", "inconclusive", "not measured"]
"""`contradicted`: what deviates here is contradicted by the paper's own data as well (`OwnData` of a claim)."""
UNDECIDED: tuple[Verdict, Verdict] = ("inconclusive", "not measured")

Scale = Literal["points", "log-ratio", "rounds", "decades", "log10", "slope", "share", "percent", "analysed"]
"""What the numbers of items are: points of accuracy, natural logarithms of ratios, levels, exponents of 10 of the
compression, exponents of 10 of an error, a slope of logarithms, a share of seeds, percent of the weights, numbers of an
analysis in its own unit."""


@dataclass(frozen=True)
class Item:
    """One tested quantity: it must lie between `low` and `high`.

    `fixed_se`: the part of the standard error that more seeds cannot lower. `measured`: the mean to print beside a
    difference from a published value. `unit`: of numbers of analyses, whose scale says none. `is_level`: whether it is
    such a number, or an accuracy, itself, held against a bound, and no difference.
    """

    where: str
    estimate: Estimate
    low: float
    high: float
    fixed_se: float = 0.0
    measured: float | None = None
    unit: str = ""
    is_level: bool = False

    def interval(self, alpha: float) -> tuple[float, float]:
        """Two-sided 1 - alpha t interval."""
        return statistics.interval(self.estimate, 1 - alpha)

    @property
    def p_inside(self) -> float:
        """Small when the quantity is shown to lie in the window."""
        return statistics.p_inside(self.estimate, self.low, self.high)

    @property
    def p_outside(self) -> float:
        """Small when it is shown to lie outside."""
        return statistics.p_outside(self.estimate, self.low, self.high)

    def seeds_in_all(self, alpha: float) -> int | None:
        """Seeds, those measured included, at which a test decides with 80 % power if the means stay."""
        e = self.estimate
        if e.n < 2:
            return 2
        distance = min(abs(e.mean - bound) for bound in (self.low, self.high) if math.isfinite(bound))
        seed_sd = math.sqrt(max(e.se**2 - self.fixed_se**2, 0.0) * e.n)
        return statistics.seeds_needed(distance, seed_sd, alpha, self.fixed_se)


@dataclass(frozen=True)
class LargestItem(Item):
    """The largest of several quantities, `among`, must lie above `low`; `estimate` is the one that lies highest.

    Whichever is highest by chance lies too high, so that one alone would be called large too often. That some quantity
    lies above is tested with Bonferroni's correction over all of them; that none does needs each of them below.
    """

    among: tuple[Estimate, ...] = ()

    @property
    def p_inside(self) -> float:
        """Small when some quantity is shown to lie above `low`."""
        return min(1.0, len(self.among) * min(statistics.p_above(e, self.low) for e in self.among))

    @property
    def p_outside(self) -> float:
        """Small when every quantity is shown to lie below `low`."""
        return max(statistics.p_below(e, self.low) for e in self.among)

    def seeds_in_all(self, alpha: float) -> int | None:
        """As for one quantity, at the corrected level."""
        return super().seeds_in_all(alpha / len(self.among))


@dataclass(frozen=True)
class ShareItem(Item):
    """The share of seeds in which something holds must be more than a half; `estimate` is of zeros and ones.

    Tested as throws of a coin. Student's t on zeros and ones says more than they do: three seeds that agree would be
    a certainty, and agree in a quarter of all worlds in which the share is a half: see
    tests/claims/test_error_rates_masks.py.
    """

    def _chance(self, least: int, most: int) -> float:
        n = self.estimate.n
        return math.ldexp(sum(math.comb(n, k) for k in range(least, most + 1)), -n)

    @property
    def _holding(self) -> int:
        return round(self.estimate.mean * self.estimate.n)

    @property
    def p_inside(self) -> float:
        """Chance of as many seeds, or more, at a share of a half."""
        return self._chance(self._holding, self.estimate.n)

    @property
    def p_outside(self) -> float:
        """Chance of as few seeds, or fewer, at a share of a half."""
        return self._chance(0, self._holding)

    def seeds_in_all(self, alpha: float) -> int | None:
        """As for a mean; where all seeds agree, as many as throws of a coin would hardly do."""
        if 0 < self._holding < self.estimate.n:
            return super().seeds_in_all(alpha)
        return max(2, math.ceil(-math.log2(alpha)))


@dataclass(frozen=True)
class Evidence:
    """What the records say on one check. All `items` must lie in their windows.

    `orders`: an ordering, so Holm's correction over the paper applies. `centre`: an estimate to print instead of the
    items' own (a crossing, where the items are the curve at the two ends of its window); `censored_at`: the last
    level, beyond which no crossing can be seen. `exact`: counted from the protocol, so that no seed is needed.
    """

    items: tuple[Item, ...]
    scale: Scale
    seeds: tuple[int, ...]
    failures: tuple[str, ...]
    orders: bool = False
    centre: Item | None = None
    censored_at: float | None = None
    exact: bool = False

    @property
    def is_known(self) -> bool:
        """Whether anything is known."""
        return self.exact or bool(self.seeds)

    @property
    def p_reproduced(self) -> float:
        """Every item is inside: the largest p value, which needs no correction. 1 where nothing is measured."""
        return max((item.p_inside for item in self.items), default=1.0)

    @property
    def p_deviates(self) -> float:
        """Some item is outside: the smallest p value after Holm's correction over the items."""
        return min(statistics.holm([item.p_outside for item in self.items]), default=1.0)

    @property
    def weakest(self) -> Item:
        """The item that decides: the most surely outside if any mean is outside, else the least surely inside."""
        outside = [i for i in self.items if not i.low <= i.estimate.mean <= i.high]
        return min(outside, key=lambda i: i.p_outside) if outside else max(self.items, key=lambda i: i.p_inside)

    def verdict(self, alpha: float, p_reproduced: float, p_deviates: float) -> Verdict:
        """From p values that may have been corrected for other claims. A failed run forbids `reproduced`."""
        if not self.is_known:
            return "not measured"
        if self.exact:
            return "reproduced" if all(i.low <= i.estimate.mean <= i.high for i in self.items) else "deviates"
        if len(self.seeds) < 2:
            return "inconclusive"
        if p_deviates <= alpha:
            return "deviates"
        return "reproduced" if p_reproduced <= alpha and not self.failures else "inconclusive"

    def seeds_still_needed(self, alpha: float) -> int | None:
        """Further seeds for a decision, if the means stay as they are; None if 1,000 would not do.

        All items must be shown inside, or the one farthest outside be shown outside.
        """
        n = len(self.seeds)
        if n < 2:
            return 2 - n
        outside = [item for item in self.items if not item.low <= item.estimate.mean <= item.high]
        if outside:
            sides = 2 if all(math.isfinite(b) for b in (self.weakest.low, self.weakest.high)) else 1
            wanted = [self.weakest.seeds_in_all(alpha / sides / len(self.items))]
        else:
            wanted = [item.seeds_in_all(alpha) for item in self.items]
        if any(total is None for total in wanted):
            return None
        return max(1, max(total for total in wanted if total is not None) - n)
