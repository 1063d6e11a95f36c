"""A number of an analysis, or an accuracy, below, above or between bounds that a statement itself gives: no margin is
added."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from benchmark.claims import statistics
from benchmark.claims.evidence import Item
from benchmark.claims.observations import Observations
from benchmark.claims.rules.base import RULES, Rule
from benchmark.claims.rules.cells import Points
from benchmark.claims.rules.sampling import values_by_seed, where
from benchmark.claims.wording import figures, points_text
from benchmark.protocols import Protocol
from benchmark.records.schema import Accuracy, Analysed


@RULES.register("bound")
class Bound(Rule):
    """The number lies below `below` and above `above`, at every level named: one-sided t tests over seeds."""

    rule: Literal["bound"]
    metric: Accuracy | Literal["train-accuracy"] | Analysed
    of: Points
    below: float | None = None
    above: float | None = None
    unit_words: str = Field(default="", description="the unit of the bounds, for pages that have no record yet")

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if self.below is None and self.above is None:
            raise ValueError("give below, above or both")
        if self.below is not None and self.above is not None and self.below <= self.above:
            raise ValueError(f"below {self.below:g} and above {self.above:g} leave nothing between")
        return self

    @property
    def points(self) -> tuple[Points, ...]:
        """The levels named."""
        return (self.of,)

    def items(self, observations: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
        """The mean at each level."""
        low = -math.inf if self.above is None else self.above
        high = math.inf if self.below is None else self.below
        unit = self.unit(observations) if self.is_analysed else "percent"
        found = []
        for point in self.of.cells:
            values = values_by_seed(observations, self.metric, point, seeds)
            here = statistics.estimate(values, observations.resolution(self.metric))
            found.append(Item(where(observations, [point]), here, low, high, unit=unit, is_level=True))
        return tuple(found)

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        sides = [f"{word} {figures(bound)}" for word, bound in (("above", self.above), ("below", self.below))
                 if bound is not None]  # fmt: skip
        unit = f" {'%' if self.unit_words == 'percent' else self.unit_words}" if self.unit_words else ""
        return f"{self.metric_name} of {points_text(protocol, self.of)} is {' and '.join(sides)}{unit}"
