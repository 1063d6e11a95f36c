"""Shape of a measured curve over levels: its largest gain over dense, its peak, where it crosses the dense value."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from benchmark.claims import statistics
from benchmark.claims.evidence import Evidence, Item, LargestItem, Scale
from benchmark.claims.observations import Observations, Point
from benchmark.claims.rules.base import RULES, Rule
from benchmark.claims.rules.cells import Points, Span, listed
from benchmark.claims.rules.sampling import (
    DENSE_POINT,
    accuracy_margin,
    averages,
    blocks,
    effect_margin,
    mean_curve,
    paired,
    resolution,
    where,
)
from benchmark.claims.wording import bracket, points_text
from benchmark.protocols import Protocol
from benchmark.protocols.cells import density_text
from benchmark.records.schema import TrainedMetric


class OfOneCurve(Rule):
    """What rules on one method's curve share."""

    metric: TrainedMetric
    of: Points

    @property
    def points(self) -> tuple[Points, ...]:
        """The levels of the curve."""
        return (self.of,)


class AgainstDense(OfOneCurve):
    """Needs the dense network of each seed."""

    @property
    def needed_cells(self) -> tuple[tuple[str, int], ...]:
        """The curve, and the dense network."""
        return tuple(sorted({*self.of.cells, DENSE_POINT}))


@RULES.register("largest-gain")
class LargestGain(AgainstDense):
    """The largest gain over dense among the levels equals `published` points (accuracy margin): no level gains more,
    and some level gains that."""

    rule: Literal["largest-gain"]
    published: float

    def items(self, observations: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
        """No level may gain more than the margin above what was published, and some level must gain that, less the
        margin.

        The largest of many means lies too high by chance. Testing it as if it were one mean, with a jackknife's
        standard error, says `reproduced` in up to 40 % of flat worlds on the edge (tests/claims/test_error_rates.py);
        tests level by level keep the error level whatever the curve.
        """
        margin = effect_margin(observations, accuracy_margin(observations, self.metric, None), self.published)
        gains = [
            (paired(observations, self.metric, [(point, DENSE_POINT)], seeds), where(observations, [point]))
            for point in self.of.cells
        ]
        highest, at = max(gains, key=lambda gain: gain[0].mean)
        low, high = self.published - margin, self.published + margin
        enough = LargestItem(at, highest, low, math.inf, among=tuple(gain for gain, _ in gains))
        return (enough, *(Item(at_level, gain, -math.inf, high) for gain, at_level in gains))

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        gain = f"the largest gain of {points_text(protocol, self.of)} over dense"
        return f"{self.metric_name}: {gain} equals {self.published}"


class OfWindow(OfOneCurve):
    """A rule that says where on a curve its extreme lies."""

    extreme: Literal["highest", "lowest"]
    window: Span

    orders = True

    @property
    def quantity(self) -> str:
        """Short name of what is measured."""
        return f"{super().quantity} peak"

    @property
    def sign(self) -> float:
        """What values are multiplied by, so that the extreme is the largest."""
        return 1.0 if self.extreme == "highest" else -1.0

    @property
    def inside(self) -> list[int]:
        """The levels of the curve in the window."""
        return [level for level in listed(self.of.levels) if self.window.first <= level <= self.window.last]

    @property
    def outside(self) -> list[int]:
        """All other levels of the curve."""
        return [level for level in listed(self.of.levels) if not self.window.first <= level <= self.window.last]

    @property
    def rivals(self) -> list[list[int]]:
        """The blocks of levels that are as wide as the window, before it and after it, in order."""
        before = [level for level in self.outside if level < self.window.first]
        after = [level for level in self.outside if level > self.window.last]
        width = len(self.inside)
        return sorted([*(block[::-1] for block in blocks(before[::-1], width)), *blocks(after, width)])

    def where_it_lies(self, protocol: Protocol) -> str:
        """The window, in the paper's own unit."""
        return " to ".join(density_text(protocol, level) for level in (self.window.first, self.window.last))


@RULES.register("peak")
class Peak(OfWindow):
    """The extreme of the curve lies in `window`: its mean is beyond that of every block of equal width elsewhere."""

    rule: Literal["peak"]

    def items(self, observations: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
        """The window against every block of its width before it and after it."""
        levels, window, sign = listed(self.of.levels), self.inside, self.sign
        here = averages(observations, self.metric, self._cells(window), seeds)
        grid = resolution(observations, self.metric, self._cells(levels), seeds)
        items = []
        for rival in self.rivals:
            there = averages(observations, self.metric, self._cells(rival), seeds)
            gaps = [sign * (x - y) for x, y in zip(here, there, strict=True)]
            against = "against " + where(observations, self._cells(rival)).removeprefix("at ")
            items.append(Item(against, statistics.estimate(gaps, grid), 0.0, math.inf))
        return tuple(items)

    def _cells(self, levels: Sequence[int]) -> list[Point]:
        return [(self.of.method, level) for level in levels]

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        window = self.where_it_lies(protocol)
        return (
            f"{self.metric_name} of {self.of.method} is {self.extreme} at {window}, against every block of equal width"
        )


@RULES.register("threshold")
class Threshold(AgainstDense):
    """The level at which a curve crosses the dense value for good (round margin on either side).

    Before the crossing the curve is `before` the dense value. `published`: the crossing lies between these levels;
    a paper that says "back to dense at L" gives [L, L], "first below dense at L" gives [L - 1, L].
    """

    rule: Literal["threshold"]
    before: Literal["above", "below"]
    published: tuple[float, float]

    @property
    def scale(self) -> Scale:
        """Levels."""
        return "rounds"

    def evaluate(self, observations: Observations, others: Mapping[str, Observations] | None = None) -> Evidence:
        """As every rule, with the crossing itself, which is printed and not tested."""
        evidence = super().evaluate(observations, others)
        if not evidence.seeds:
            return evidence
        last = float(max(level for _, level in self.needed_cells))
        return replace(evidence, centre=self._crossing(observations, evidence.seeds), censored_at=last)

    def items(self, observations: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
        """The curve must be on its first side where the window opens and on the other where it closes.

        Tests at the two ends hold their error level with few seeds, where a jackknife interval of the crossing may not
        (all leave-one-out curves can cross at the same level by chance); the jackknife only gives what is printed.
        Farther off, no level may lie on the wrong side by more than the metric's margin: a curve that dips below and
        comes back does not cross for good in the window.
        """
        opens, closes = self._window(observations.protocol)
        curves = self._signed_gains(observations, seeds)
        step = observations.resolution(self.metric)
        at_opening, at_closing = (
            statistics.estimate([interpolated(self._levels, curve, x) for curve in curves], step)
            for x in (opens, closes)
        )
        return (
            Item("where the window opens", at_opening, 0.0, math.inf),
            Item("where the window closes", at_closing, -math.inf, 0.0),
            *self._outside(observations, seeds),
        )

    @property
    def _levels(self) -> list[int]:
        """Those of the curve, behind the dense one."""
        return [0, *listed(self.of.levels)]

    def _window(self, protocol: Protocol) -> tuple[float, float]:
        tolerance = protocol.statistics.margins.density_rounds
        return self.published[0] - tolerance, self.published[1] + tolerance

    def _signed_gains(self, observations: Observations, seeds: Sequence[int]) -> list[list[float]]:
        """One row per seed: value - dense at every level, in the metric's own unit, positive on the first side."""
        sign = 1.0 if self.before == "above" else -1.0
        curves = []
        for seed in seeds:
            dense = observations.value(self.metric, DENSE_POINT, seed)
            values = [observations.value(self.metric, point, seed) for point in self.of.cells]
            curves.append([0.0, *(sign * (v - dense) for v in values if v is not None and dense is not None)])
        return curves

    def _outside(self, observations: Observations, seeds: Sequence[int]) -> Iterator[Item]:
        """Every level outside the window: not on the wrong side by more than the margin."""
        opens, closes = self._window(observations.protocol)
        ratio = math.log1p(observations.protocol.statistics.margins.ratio)
        steps = self.metric == "early-stop-step"
        margin = ratio if steps else accuracy_margin(observations, self.metric, None)
        for point in self.of.cells:
            if opens <= point[1] <= closes:
                continue
            gain = paired(observations, self.metric, [(point, DENSE_POINT)], seeds)
            above = (self.before == "above") == (point[1] < opens)
            bounds = (-margin, math.inf) if above else (-math.inf, margin)
            yield Item(where(observations, [point]), gain, *bounds)

    def _crossing(self, observations: Observations, seeds: Sequence[int]) -> Item:
        levels, curves = self._levels, self._signed_gains(observations, seeds)
        level = statistics.jackknife(lambda sample: crossing(levels, mean_curve(sample)), curves, 1.0)
        return Item("", level, *self._window(observations.protocol))

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        after = "below" if self.before == "above" else "above"
        window = bracket(protocol, *self._window(protocol))
        return (
            f"{self.metric_name} of {self.of.method} goes from {self.before} dense to {after} it at {window}, "
            "and nowhere else lies on the wrong side by more than the margin"
        )

    def measured_text(self, evidence: Evidence, protocol: Protocol) -> str:
        """The densities around the crossing, and around its interval."""
        if evidence.centre is None:
            return super().measured_text(evidence, protocol)
        level = evidence.centre.estimate.mean
        low, high = evidence.centre.interval(protocol.statistics.alpha)
        beyond = "at or beyond" if evidence.censored_at == level else "at"
        at = bracket(protocol, level, level)
        return f"{self.quantity} crosses dense {beyond} {at} [{bracket(protocol, low, high)}]"


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
