"""Where a curve has its extreme, and where it crosses dense, decided by averages of neighbouring levels (rules 2).

The level that comes out highest, and the level at which a measured curve crosses zero, are statistics without a useful
distribution at few seeds, and a parabola through a peak is biased. What is tested here are weighted sums of levels, so
that every test is one of a mean, and neighbours share what they know.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field

from benchmark.claims import statistics
from benchmark.claims.evidence import Evidence, Item, Scale
from benchmark.claims.observations import Observations, Point
from benchmark.claims.rules.base import RULES
from benchmark.claims.rules.cells import listed
from benchmark.claims.rules.sampling import DENSE_POINT, contrast, mean_curve, paired, where
from benchmark.claims.rules.shape import AgainstDense, OfWindow, crossing
from benchmark.claims.wording import bracket
from benchmark.protocols import Protocol


def margin_of(observations: Observations, metric: str) -> float:
    """The margin of the metric, on the scale on which it is compared."""
    if metric == "early-stop-step":
        return math.log1p(observations.protocol.statistics.margins.ratio)
    return observations.protocol.statistics.margins.accuracy_points


@RULES.register("best-window")
class BestWindow(OfWindow):
    """The extreme of the curve lies in `window`: no block of equal width elsewhere is better by more than half of the
    margin, and the window is better than the other levels on average.

    The first alone would hold for a flat curve, the second alone for a window beside the extreme.
    """

    rule: Literal["best-window"]

    def items(self, observations: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
        """The window against the average of all other levels, and against every block of its width."""
        margin = margin_of(observations, self.metric) / 2
        return (
            self._against(observations, seeds, self.outside, 0.0),
            *(self._against(observations, seeds, rival, -margin) for rival in self.rivals),
        )

    def _against(self, observations: Observations, seeds: Sequence[int], rival: Sequence[int], low: float) -> Item:
        weights: dict[Point, float] = {(self.of.method, level): self.sign / len(self.inside) for level in self.inside}
        weights |= {(self.of.method, level): -self.sign / len(rival) for level in rival}
        gap = contrast(observations, self.metric, weights, seeds)
        at = where(observations, [(self.of.method, level) for level in rival]).removeprefix("at ")
        return Item(f"against {at}", gap, low, math.inf)

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        window = self.where_it_lies(protocol)
        return (
            f"{self.metric_name} of {self.of.method} is {self.extreme} at {window}: beyond the other levels on "
            "average, and by no block of equal width beaten by more than half of the margin"
        )


@RULES.register("crossing")
class Crossing(AgainstDense):
    """The level at which a curve crosses the dense value for good (round margin on either side), by local lines.

    Before the crossing the curve is `before` the dense value. `published`: the crossing lies between these levels; a
    paper that says "back to dense at L" gives [L, L], "first below dense at L" gives [L - 1, L].
    """

    rule: Literal["crossing"]
    before: Literal["above", "below"]
    published: tuple[float, float]
    reach: float = Field(default=2.0, gt=0, description="levels on either side that the local line goes through")

    @property
    def scale(self) -> Scale:
        """Levels."""
        return "rounds"

    def items(self, observations: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
        """On the first side where the window opens, on the other where it closes, each by the line through the levels
        within reach; and, farther off than the reach, no level on the wrong side by more than the margin.
        """
        opens, closes = self._window(observations.protocol)
        return (
            Item("where the window opens", self._gain(observations, seeds, opens), 0.0, math.inf),
            Item("where the window closes", self._gain(observations, seeds, closes), -math.inf, 0.0),
            *self._outside(observations, seeds),
        )

    def _window(self, protocol: Protocol) -> tuple[float, float]:
        tolerance = protocol.statistics.margins.density_rounds
        return self.published[0] - tolerance, self.published[1] + tolerance

    def _gain(self, observations: Observations, seeds: Sequence[int], level: float) -> statistics.Estimate:
        """Value - dense at a level, positive on the first side, on the line through the levels within reach."""
        sign = 1.0 if self.before == "above" else -1.0
        weights: dict[Point, float] = {
            (self.of.method, at): sign * w for at, w in line_weights(listed(self.of.levels), level, self.reach).items()
        }
        return contrast(observations, self.metric, {**weights, DENSE_POINT: -sign}, seeds)

    def _outside(self, observations: Observations, seeds: Sequence[int]) -> Iterator[Item]:
        """Every level outside the window: not on the wrong side by more than the margin."""
        opens, closes = self._window(observations.protocol)
        margin = margin_of(observations, self.metric)
        for point in self.of.cells:
            if opens <= point[1] <= closes:
                continue
            gain = paired(observations, self.metric, [(point, DENSE_POINT)], seeds)
            above = (self.before == "above") == (point[1] < opens)
            bounds = (-margin, math.inf) if above else (-math.inf, margin)
            yield Item(where(observations, [point]), gain, *bounds)

    def evaluate(self, observations: Observations, others: Mapping[str, Observations] | None = None) -> Evidence:
        """As every rule, with the crossing of the mean curve, which is printed and not tested."""
        evidence = super().evaluate(observations, others)
        if not evidence.seeds:
            return evidence
        levels, sign = [0, *listed(self.of.levels)], 1.0 if self.before == "above" else -1.0
        rows = []
        for seed in evidence.seeds:
            dense = observations.value(self.metric, DENSE_POINT, seed)
            values = [observations.value(self.metric, point, seed) for point in self.of.cells]
            rows.append([0.0, *(sign * (v - dense) for v in values if v is not None and dense is not None)])
        at = statistics.jackknife(lambda sample: crossing(levels, mean_curve(sample)), rows, 1.0)
        return replace(
            evidence, centre=Item("", at, *self._window(observations.protocol)), censored_at=float(levels[-1])
        )

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        after = "below" if self.before == "above" else "above"
        window = bracket(protocol, *self._window(protocol))
        return (
            f"{self.metric_name} of {self.of.method}, on lines through neighbouring levels, goes from {self.before} "
            f"dense to {after} it at {window}, and nowhere else lies on the wrong side by more than the margin"
        )

    def measured_text(self, evidence: Evidence, protocol: Protocol) -> str:
        """The densities around the crossing, and around its interval."""
        if evidence.centre is None:
            return super().measured_text(evidence, protocol)
        level = evidence.centre.estimate.mean
        low, high = evidence.centre.interval(protocol.statistics.alpha)
        beyond = "at or beyond" if evidence.censored_at == level else "at"
        return (
            f"{self.quantity} crosses dense {beyond} {bracket(protocol, level, level)} [{bracket(protocol, low, high)}]"
        )


def line_weights(levels: Sequence[int], x: float, reach: float) -> dict[int, float]:
    """Weights of levels whose sum is the least-squares line through those within `reach` of x, at x; their sum is 1.

    Where fewer than two lie within reach, the nearest level on either side, so that the line goes between them.
    """
    near = [level for level in levels if abs(level - x) <= reach]
    if len(near) < 2 or x < min(near) or x > max(near):
        below, above = [level for level in levels if level <= x], [level for level in levels if level > x]
        near = sorted({*near, *below[-1:], *above[:1]})
    centre = sum(near) / len(near)
    spread = sum((level - centre) ** 2 for level in near)
    return {level: 1 / len(near) + (x - centre) * (level - centre) / spread if spread else 1.0 for level in near}
