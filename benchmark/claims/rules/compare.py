"""Comparison of two measured quantities: differences and ratios with a published value, and orderings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from benchmark.claims import statistics
from benchmark.claims.evidence import Evidence, Item, Scale
from benchmark.claims.observations import Observations, Point
from benchmark.claims.rules.base import RULES, Rule
from benchmark.claims.rules.cells import Points
from benchmark.claims.rules.sampling import (
    accuracy_margin,
    averages,
    blocks,
    claimed_margin,
    effect_margin,
    paired,
    pairs,
    values_by_seed,
    where,
    where_pairs,
)
from benchmark.claims.statistics import Estimate
from benchmark.claims.wording import figures, number, points_text
from benchmark.protocols import Protocol, load
from benchmark.records.schema import Accuracy, Analysed, TrainedMetric
from benchmark.utils.errors import BadInput

Bound = Literal["equal", "at-least", "above"]
RELATIONS: Mapping[str, str] = {
    "equal": "equals", "at-least": "is at least", "above": "is more than", "below": "is less than",
}  # fmt: skip


@RULES.register("difference")
class Difference(Rule):
    """Paired difference of two accuracies, in points, equals `published`, or is at least that (accuracy margin), or is
    above it: without a margin, where the statement itself has one, as "within 1 point". Of numbers of an analysis, in
    their unit and by their margin."""

    rule: Literal["difference"]
    metric: TrainedMetric | Analysed
    higher: Points
    lower: Points
    published: float
    bound: Bound
    over: Literal["every", "average"] = "every"

    @property
    def points(self) -> tuple[Points, ...]:
        """Both sides."""
        return self.higher, self.lower

    def items(self, observations: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
        """The difference at each level, or their average where the statement is about a range."""
        margin = effect_margin(observations, accuracy_margin(observations, self.metric, None), self.published)
        low = self.published - (0.0 if self.bound == "above" else margin)
        high = self.published + margin if self.bound == "equal" else math.inf
        everywhere, unit = pairs(self.higher, self.lower), self.unit(observations)
        return tuple(
            Item(where_pairs(observations, g), paired(observations, self.metric, g, seeds), low, high, unit=unit)
            for g in ([everywhere] if self.over == "average" else blocks(everywhere, 1))
        )

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        sides = f"{points_text(protocol, self.higher)} minus {points_text(protocol, self.lower)}"
        average = ", on average," if self.over == "average" else ""
        amount = figures(self.published) if self.is_analysed else f"{number(self.published)} points"
        return f"{self.metric_name}: {sides}{average} {RELATIONS[self.bound]} {amount}"


@RULES.register("between")
class Between(Rule):
    """Difference of one cell here and one in another protocol, in points: as `difference`, but not paired, and maybe
    below `published`, without a margin, since `higher` is always of the claim's own protocol.

    Networks of two protocols share no draws, so the seeds of each side are a sample of its own (Welch).
    """

    rule: Literal["between"]
    metric: Accuracy
    higher: Points
    lower: Points
    protocol: str = Field(description="id of the protocol of `lower`; `higher` is of the claim's own")
    published: float
    bound: Bound | Literal["below"]

    @model_validator(mode="after")
    def _single_cells(self) -> Self:
        if len(self.higher.cells) != 1 or len(self.lower.cells) != 1:
            raise ValueError("higher and lower are one level each")
        return self

    @property
    def points(self) -> tuple[Points, ...]:
        """The side that is measured in the claim's own protocol."""
        return (self.higher,)

    @property
    def other_protocol(self) -> tuple[str, Points] | None:
        """The protocol of the lower side."""
        return self.protocol, self.lower

    def evaluate(self, observations: Observations, others: Mapping[str, Observations] | None = None) -> Evidence:
        """Each side has its own seeds, and the margin is the wider of the two protocols'."""
        sides = [(observations, self.higher.cells), ((others or {})[self.protocol], self.lower.cells)]
        seeds = [side.complete_seeds(self.metric, cells) for side, cells in sides]
        failures = tuple(text for side, cells in sides for text in side.failed(cells))
        if not all(seeds):
            return Evidence((), self.scale, (), failures)
        margin = max(accuracy_margin(side, self.metric, None) for side, _ in sides)
        here, there = (
            statistics.estimate(averages(side, self.metric, cells, own), side.resolution(self.metric))
            for (side, cells), own in zip(sides, seeds, strict=True)
        )
        low = self.published - (0.0 if self.bound == "above" else margin)
        high = self.published + margin if self.bound == "equal" else math.inf
        if self.bound == "below":
            low, high = -math.inf, self.published
        gap = statistics.difference(here, there)
        item = Item(where(observations, self.higher.cells), gap, low, high)
        return Evidence((item,), self.scale, min(seeds, key=len), failures)

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        lower = points_text(load(self.protocol), self.lower)  # whose levels may be other densities
        sides = f"{points_text(protocol, self.higher)} minus {lower} of {self.protocol}"
        return f"{self.metric_name}: {sides}, unpaired, {RELATIONS[self.bound]} {number(self.published)} points"


@RULES.register("ratio")
class Ratio(Rule):
    """Paired ratio of two quantities equals `published` (ratio margin, on the log scale); both above 0."""

    rule: Literal["ratio"]
    metric: TrainedMetric | Analysed
    numerator: Points
    denominator: Points
    published: float = Field(gt=0)

    @property
    def points(self) -> tuple[Points, ...]:
        """Both sides."""
        return self.numerator, self.denominator

    def items(self, observations: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
        """The difference of logarithms at each level."""
        centre = math.log(self.published)
        margin = effect_margin(observations, math.log1p(observations.protocol.statistics.margins.ratio), centre)
        low, high = centre - margin, centre + margin
        return tuple(
            Item(where_pairs(observations, [pair]), self._ratio(observations, pair, seeds), low, high)
            for pair in pairs(self.numerator, self.denominator)
        )

    @property
    def scale(self) -> Scale:
        """Logarithms."""
        return "log-ratio" if self.is_analysed else super().scale

    def _ratio(self, observations: Observations, pair: tuple[Point, Point], seeds: Sequence[int]) -> Estimate:
        """Mean over seeds of the logarithm; only steps are kept as such. Raises BadInput for a number not above 0."""
        if not self.is_analysed:
            return paired(observations, self.metric, [pair], seeds)
        above, below = (values_by_seed(observations, self.metric, point, seeds) for point in pair)
        if min(*above, *below) <= 0:
            cause = f"{self.metric} is {min(*above, *below):g} in a seed, and a ratio needs numbers above 0"
            raise BadInput(observations.protocol.id, cause, "Write the claim as a difference")
        logs = [math.log(a / b) for a, b in zip(above, below, strict=True)]
        return statistics.estimate(logs, math.log1p(observations.protocol.statistics.margins.ratio) / 1000)

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        sides = f"{points_text(protocol, self.numerator)} over {points_text(protocol, self.denominator)}"
        equals = f"{self.metric_name}: {sides} equals {self.published}"
        if protocol.statistics.rules == 1:
            return f"{equals} within {100 * protocol.statistics.margins.ratio:.0f} % relative"
        margin = math.exp(claimed_margin(math.log1p(protocol.statistics.margins.ratio), math.log(self.published)))
        return f"{equals} within a factor of {number(margin)}"


@RULES.register("ordering")
class Ordering(Rule):
    """`higher` is above `lower`: paired, one-sided, Holm over the paper.

    `over: every`: at each level (each block of `width` neighbours) on its own; `over: average`: on the average.
    """

    rule: Literal["ordering"]
    metric: TrainedMetric | Analysed
    higher: Points
    lower: Points
    over: Literal["every", "average"] = "every"
    width: int = Field(default=1, gt=0)

    orders = True

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        lengths = {len(self.higher.cells), len(self.lower.cells)}
        if len(lengths) == 2 and 1 not in lengths:
            raise ValueError("higher and lower have different numbers of levels")
        return self

    @property
    def points(self) -> tuple[Points, ...]:
        """Both sides."""
        return self.higher, self.lower

    def items(self, observations: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
        """The paired difference of every group of levels, above 0."""
        everywhere = pairs(self.higher, self.lower)
        groups = [everywhere] if self.over == "average" else blocks(everywhere, self.width)
        unit = self.unit(observations)
        return tuple(
            Item(where_pairs(observations, g), paired(observations, self.metric, g, seeds), 0.0, math.inf, unit=unit)
            for g in groups
        )

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        relation = "is later than" if self.metric == "early-stop-step" else "is above"
        sides = f"{points_text(protocol, self.higher)} {relation} {points_text(protocol, self.lower)}"
        if self.over == "average":
            sides += ", on average"
        elif self.width > 1:
            sides += f", in every average of {self.width} neighbouring levels"
        return f"{self.metric_name}: {sides}"
