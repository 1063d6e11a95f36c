"""The section of a protocol that says how its claims are decided: error level, margins, looks. Fixed before any run.

There are two versions of the rules of decision. Version 1 tests once, over all seeds that are there. Version 2 tests
at the looks that are planned here and nowhere else, with the error level spent over them; see docs/statistics.md.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from benchmark.utils.strict_model import ADDED, Frozen


class Margins(Frozen):
    """How near counts as the same. Fixed before anything runs."""

    accuracy_points: float = Field(gt=0)
    seed_sd_multiple: Annotated[float | None, ADDED] = Field(
        default=None, gt=0, description="rules 1: the margin is the larger of the two; rules 2 has fixed margins only"
    )
    ratio: float = Field(gt=0, lt=1, description="multiplied or divided by 1 + ratio")
    density_rounds: int = Field(ge=0)
    exact: Annotated[float | None, Field(gt=0, lt=1), ADDED] = Field(
        default=None, description="relative error up to which sums of scores count as equal"
    )
    analysed: Annotated[dict[str, Annotated[float, Field(gt=0)]], ADDED] = Field(
        default_factory=dict, description="of the numbers of analyses, by name and in their units; the only such margin"
    )


class PlannedLook(Frozen):
    """One planned test: over the first `seeds` of the protocol's, by which `spent` of the error level is used up."""

    seeds: int = Field(ge=2)
    spent: float = Field(gt=0)


class StatisticsSpec(Frozen):
    """Error level and margins of every verdict of the protocol."""

    rules: Annotated[Literal[1, 2], ADDED] = 1
    alpha: float = Field(gt=0, lt=0.5)
    margins: Margins
    looks: Annotated[tuple[PlannedLook, ...], ADDED] = ()

    @model_validator(mode="after")
    def _of_one_version(self) -> Self:
        if (self.rules == 2) != bool(self.looks):
            raise ValueError("looks: rules 2 plans them, rules 1 has none")
        if (self.rules == 1) != (self.margins.seed_sd_multiple is not None):
            raise ValueError("margins.seed_sd_multiple: rules 1 has it, rules 2 has fixed margins")
        if any(b.seeds <= a.seeds or b.spent <= a.spent for a, b in pairwise(self.looks)):
            raise ValueError("looks: seeds and spent must rise")
        if self.looks and self.looks[-1].spent != self.alpha:
            raise ValueError(f"looks: the last one spends alpha, {self.alpha}")
        return self
