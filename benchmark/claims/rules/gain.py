"""A gain that is larger at one density than at another, such as a recipe's that helps most where least is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import model_validator

from benchmark.claims.evidence import Item
from benchmark.claims.observations import Observations
from benchmark.claims.rules.base import RULES, Rule
from benchmark.claims.rules.cells import Points, listed
from benchmark.claims.rules.sampling import contrast, where
from benchmark.claims.wording import points_text
from benchmark.protocols import Protocol
from benchmark.records.schema import Accuracy


@RULES.register("growing-gain")
class GrowingGain(Rule):
    """The gain of `higher` over `lower` is larger at the second of two levels than at the first: the difference of the
    two differences, within each seed, is above 0. One-sided, Holm over the paper."""

    rule: Literal["growing-gain"]
    metric: Accuracy
    higher: Points
    lower: Points

    orders = True

    @model_validator(mode="after")
    def _two_levels(self) -> Self:
        levels = listed(self.higher.levels)
        if len(levels) != 2 or levels != listed(self.lower.levels) or 0 in levels:
            raise ValueError("higher and lower are at the same two pruned levels")
        return self

    @property
    def points(self) -> tuple[Points, ...]:
        """Both sides."""
        return self.higher, self.lower

    def items(self, observations: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
        """(higher - lower) at the second level minus that at the first, in points."""
        (a_first, a_second), (b_first, b_second) = self.higher.cells, self.lower.cells
        weights = {a_second: 1.0, b_second: -1.0, a_first: -1.0, b_first: 1.0}
        gain = contrast(observations, self.metric, weights, seeds)
        return (Item(where(observations, [a_first, a_second]), gain, 0.0, math.inf),)

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        first, second = (points_text(protocol, Points(method=self.lower.method, levels=(n,)))
                         for n in listed(self.lower.levels))  # fmt: skip
        return f"{self.metric_name}: the gain of {self.higher.method} is larger over {second} than over {first}"
