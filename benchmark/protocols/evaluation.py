"""Where a setting comes from, what is evaluated, and how near counts as the same."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from benchmark.utils.strict_model import ADDED, Frozen


class Paper(Frozen):
    """Where the setting comes from."""

    key: str
    title: str
    authors: str
    year: int
    arxiv: str


class EvaluationSpec(Frozen):
    """When networks are evaluated, and which accuracy the paper reports."""

    first: int = Field(ge=0, description="updates done before the first evaluation")
    every: int = Field(gt=0, description="updates between evaluations")
    test_every: int = Field(gt=0, description="updates between evaluations on the test set, a multiple of `every`")
    test_at_validation_minima: bool = Field(description="also test whenever the validation loss is the least so far")
    reported: Literal["last", "best", "early-stop"]
    early_stop: Literal["minimum-validation-loss", "none"]

    def steps(self, total: int) -> tuple[int, ...]:
        """Numbers of updates after which a run of `total` updates is evaluated; the end if none is due."""
        return tuple(range(self.first, total + 1, self.every)) or (total,)

    def test_steps(self, total: int) -> tuple[int, ...]:
        """Those of `steps` at which the test set is always seen; the last one is among them."""
        steps = self.steps(total)
        return (*steps[:: self.test_every // self.every], *steps[-1:])

    @model_validator(mode="after")
    def _multiple(self) -> Self:
        if self.test_every % self.every:
            raise ValueError(f"test_every {self.test_every} is no multiple of every {self.every}")
        if (self.early_stop == "none") == self.test_at_validation_minima:
            raise ValueError("early_stop and test_at_validation_minima go together")
        return self


NO_EVALUATION: Final = EvaluationSpec.model_construct(
    first=0, every=0, test_every=0, test_at_validation_minima=False, reported="last", early_stop="none"
)
"""Stands in a protocol that trains nothing, and so evaluates nothing. No document can spell it."""


class Margins(Frozen):
    """How near counts as the same. Fixed before anything runs."""

    accuracy_points: float = Field(gt=0)
    seed_sd_multiple: float = Field(gt=0, description="margin is the larger of the two")
    ratio: float = Field(gt=0, lt=1)
    density_rounds: int = Field(ge=0)
    exact: Annotated[float | None, Field(gt=0, lt=1), ADDED] = Field(
        default=None, description="relative error up to which sums of scores count as equal"
    )


class StatisticsSpec(Frozen):
    """Error level and margins of every verdict of the protocol."""

    alpha: float = Field(gt=0, lt=0.5)
    margins: Margins
