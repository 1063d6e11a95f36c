"""Properties of the scores that masks were made from: conservation, its slope over layers, what a round removes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal, Self

from pydantic import Field, model_validator

from benchmark.claims import statistics
from benchmark.claims.evidence import Item, Scale
from benchmark.claims.observations import Observations, Point
from benchmark.claims.rules.base import RULES, Rule
from benchmark.claims.rules.cells import Points
from benchmark.claims.rules.sampling import where
from benchmark.claims.wording import METRICS, points_text
from benchmark.protocols import Protocol

SMALLEST_ERROR = 1e-18  # what is printed for sums that are equal to the bit
SCALES: Mapping[str, Scale] = {"unit-error": "log10", "score-slope": "slope", "prune-to-cut": "log-ratio"}
FITTING = {
    "unit-error": ("exact",),
    "score-slope": ("inverse", "published"),
    "prune-to-cut": ("below-1", "above-1", "published"),
}


@RULES.register("score-property")
class ScoreProperty(Rule):
    """A property of the scores behind every mask named.

    unit-error, `within: exact`: sums into and out of every hidden unit are equal (margin `exact`).
    score-slope, `within: inverse`: a layer's mean score goes as 1 / its size, the slope of the logarithms being -1
    (ratio margin). prune-to-cut, `within: below-1` or `above-1`: the worst round's score removed over the score of a
    layer; below 1 no layer can empty.
    `within: published`, of the last two: the property is the number that `published` gives for each level, within the
    ratio margin.
    """

    rule: Literal["score-property"]
    of: Points
    metric: Literal["unit-error", "score-slope", "prune-to-cut"]
    within: Literal["exact", "inverse", "below-1", "above-1", "published"]
    published: dict[int, float] = Field(default_factory=dict, description="level -> the paper's number")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        fitting = FITTING[self.metric]
        if self.within not in fitting:
            raise ValueError(f"within: {self.within} says nothing of {self.metric}; write {fitting[0]}")
        levels = {level for _, level in self.of.cells} if self.within == "published" else set()
        if set(self.published) != levels:
            raise ValueError("published has one number for each level named where within says published, else none")
        if self.metric == "prune-to-cut" and any(number <= 0 for number in self.published.values()):
            raise ValueError("published: a ratio is above 0")
        return self

    @property
    def points(self) -> tuple[Points, ...]:
        """The masks named."""
        return (self.of,)

    @property
    def scale(self) -> Scale:
        """Exponents of 10 of an error, a slope, or natural logarithms of ratios."""
        return SCALES[self.metric]

    def items(self, observations: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
        """The property at each level."""
        return tuple(self._item(observations, point, seeds) for point in self.of.cells)

    def _item(self, observations: Observations, point: Point, seeds: Sequence[int]) -> Item:
        margins = observations.protocol.statistics.margins
        at = where(observations, [point])
        values = [v for seed in seeds if (v := observations.value(self.metric, point, seed)) is not None]
        if self.within == "published":
            return self._against_published(at, self.published[point[1]], values, margins.ratio)
        if self.metric == "score-slope":
            return Item(at, statistics.estimate(values), -1 - margins.ratio, -1 + margins.ratio)
        if self.metric == "unit-error":
            logs = [math.log10(max(value, SMALLEST_ERROR)) for value in values]
            # A protocol without the margin shows nothing exact: its window is empty of any error that floats have.
            return Item(at, statistics.estimate(logs), -math.inf, math.log10(margins.exact or 1e-300))
        bounds = (-math.inf, 0.0) if self.within == "below-1" else (0.0, math.inf)
        return Item(at, statistics.estimate([math.log(value) for value in values]), *bounds)

    def _against_published(self, at: str, published: float, values: Sequence[float], ratio: float) -> Item:
        if self.metric == "score-slope":
            gap = statistics.estimate([value - published for value in values])
            return Item(at, gap, -ratio, ratio, measured=fmean(values))
        gap = statistics.estimate([math.log(value / published) for value in values])
        return Item(at, gap, -math.log1p(ratio), math.log1p(ratio))

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        return f"{self._property(protocol)}, in {points_text(protocol, self.of)}"

    def _property(self, protocol: Protocol) -> str:
        if self.metric == "unit-error":
            margin = protocol.statistics.margins.exact
            equal = "" if margin is None else f", to {margin:g} relative"
            return f"scores into and out of every hidden unit sum to the same{equal}"
        if self.within == "published":
            numbers = ", ".join(f"{number:g}" for _, number in sorted(self.published.items()))
            return f"the {METRICS[self.metric]} is {numbers}, within {100 * protocol.statistics.margins.ratio:g} %"
        if self.metric == "score-slope":
            return "a layer's mean score goes as its size to the power of -1"
        bound = "less" if self.within == "below-1" else "more"
        return f"the worst round removes {bound} score than the smallest layer has"
