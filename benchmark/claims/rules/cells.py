"""What a rule speaks of: a method at some levels, and the published numbers that they are compared with.

Level 0 of any method is the dense network. Data only.
"""

from __future__ import annotations

from statistics import fmean
from typing import Annotated, Self

from pydantic import Field, model_validator

from benchmark.claims import statistics
from benchmark.claims.statistics import Estimate
from benchmark.protocols.cells import DENSE
from benchmark.utils.strict_model import Frozen


class TableRow(Frozen):
    """A row of one of the paper's result tables (tables/<key>.yaml), by its key; `x` in the paper's own unit."""

    table: str
    setting: str
    method: str
    x: float | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    column: str | None = Field(default=None, description="value column, where the table has several")

    @property
    def words(self) -> str:
        """The key in words."""
        parts = [self.setting, self.method, "no density" if self.x is None else f"{self.x:g}", *self.labels.values()]
        return ", ".join([*parts, *([self.column] if self.column else [])])


class Sample(Frozen):
    """A published mean: raw values, or mean with sd and n, or a constant without spread.

    `row`: the row of a result table that the numbers are taken from. Loading compares them with it, and refuses a row
    that is secondary or otherwise no target.

    `sd` beside `values` replaces their own: two values say little about a spread that 99 other pairs of the same
    paper tell well. `sd_df`: degrees of freedom of `sd`, default n - 1. `sd` without n, as where a paper does not say
    how many runs it made: the margin takes it, and the mean counts as a constant.
    """

    values: tuple[float, ...] | None = None
    mean: float | None = None
    sd: float | None = Field(default=None, ge=0)
    n: int | None = Field(default=None, gt=0)
    sd_df: int | None = Field(default=None, gt=0)
    row: TableRow | None = None

    def estimate(self) -> tuple[Estimate, float | None]:
        """The mean with its standard error, and the seed sd if it is published; both in the numbers' own unit."""
        if self.values is not None:
            own = statistics.estimate(self.values) if len(self.values) > 1 else None
            if self.sd is None:
                return (own, own.sd) if own else (Estimate(self.values[0], 0.0, 1.0, 1), None)
            return statistics.known(fmean(self.values), self.sd, len(self.values), self.sd_df), self.sd
        assert self.mean is not None  # the validator sees to it
        if self.sd is None or self.n is None:
            return Estimate(self.mean, 0.0, 1.0, 1), self.sd
        return statistics.known(self.mean, self.sd, self.n, self.sd_df), self.sd

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.values is None) == (self.mean is None):
            raise ValueError("give either values or mean")
        if self.values is not None and (self.n is not None or len(self.values) < 1):
            raise ValueError("values carry their own n")
        if self.values is None and self.sd is None and self.n is not None:
            raise ValueError("n needs sd")
        if self.sd_df is not None and (self.sd is None or (self.values is None and self.n is None)):
            raise ValueError("sd_df needs sd, of values or of n runs")
        return self


class Span(Frozen):
    """Every level from `first` to `last`."""

    first: int = Field(ge=0)
    last: int = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"last {self.last} is below first {self.first}")
        return self


Levels = Annotated[tuple[int, ...], Field(min_length=1)] | Span


def listed(levels: Levels) -> tuple[int, ...]:
    """Levels one by one."""
    return tuple(range(levels.first, levels.last + 1)) if isinstance(levels, Span) else levels


class Points(Frozen):
    """A method at some levels. Level 0 of any method is the dense network, but of an analysis it is its own.

    `of_analysis`: set by a rule whose metric is of analyses, and not written in YAML.
    """

    method: str
    levels: Levels = (0,)
    of_analysis: bool = Field(default=False, exclude=True, repr=False)

    @property
    def cells(self) -> tuple[tuple[str, int], ...]:
        """(method, level) pairs."""
        return tuple((self.method if level or self.of_analysis else DENSE, level) for level in listed(self.levels))
