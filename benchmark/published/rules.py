"""Rules: how a claim is decided. Data only; benchmark/scoring evaluates them.

A rule is written from the paper's statement alone. Levels are the protocol's, 0 = dense. Margins stand in the
protocol (`statistics.margins`), so no rule carries its own, and none was chosen after a result was seen.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from benchmark.metrics import Accuracy, TrainedMetric
from benchmark.protocol import Frozen
from benchmark.published.mask_rules import MaskRule
from benchmark.published.points import Levels, Points, Span, listed


class TableRow(Frozen):
    """A row of one of the paper's result tables (results/<key>.yaml), by its key; `x` in the paper's own unit."""

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


class Value(Frozen):
    """The metric of a method equals a published mean at every level named (accuracy margin)."""

    rule: Literal["value"]
    metric: TrainedMetric
    of: Points
    published: Sample


class Curve(Frozen):
    """A whole curve equals the published runs: those of `published` methods of a setting in a `table`, by name.

    `width` neighbouring levels are averaged: a single round of a curve with two trials is known worse than the margin;
    neighbours in density measure nearly the same thing, so their averages can be compared. `spread`: the runs' standard
    deviation is pooled over all levels, or each level's own, where it grows along the curve.
    """

    rule: Literal["curve"]
    metric: Accuracy
    of: Points
    table: str
    setting: str
    published: tuple[str, ...] = Field(min_length=1)
    width: int = Field(default=1, gt=0)
    spread: Literal["pooled", "own"]

    @model_validator(mode="after")
    def _one_level_each(self) -> Self:
        if self.spread == "own" and self.width > 1:
            raise ValueError("a level has no spread of its own where levels are averaged; write spread: pooled")
        return self


class Difference(Frozen):
    """Paired difference of two accuracies, in points, equals `published`, or is at least that (accuracy margin)."""

    rule: Literal["difference"]
    metric: TrainedMetric
    higher: Points
    lower: Points
    published: float
    bound: Literal["equal", "at-least"]


class Between(Frozen):
    """Difference of one cell here and one in another protocol, in points: as `difference`, but not paired.

    Networks of two protocols share no draws, so the seeds of each side are a sample of its own (Welch).
    """

    rule: Literal["between"]
    metric: Accuracy
    higher: Points
    lower: Points
    protocol: str = Field(description="id of the protocol of `lower`; `higher` is of the claim's own")
    published: float
    bound: Literal["equal", "at-least"]

    @model_validator(mode="after")
    def _single_cells(self) -> Self:
        if len(self.higher.cells) != 1 or len(self.lower.cells) != 1:
            raise ValueError("higher and lower are one level each")
        return self


class LargestGain(Frozen):
    """The largest gain over dense among the levels equals `published` points (accuracy margin): no level gains more,
    and some level gains that."""

    rule: Literal["largest-gain"]
    metric: TrainedMetric
    of: Points
    published: float


class Ratio(Frozen):
    """Paired ratio of two quantities equals `published` (ratio margin, on the log scale)."""

    rule: Literal["ratio"]
    metric: TrainedMetric
    numerator: Points
    denominator: Points
    published: float = Field(gt=0)


class Ordering(Frozen):
    """`higher` is above `lower`: paired, one-sided, Holm over the paper.

    `over: every`: at each level (each block of `width` neighbours) on its own; `over: average`: on the average.
    """

    rule: Literal["ordering"]
    metric: TrainedMetric
    higher: Points
    lower: Points
    over: Literal["every", "average"] = "every"
    width: int = Field(default=1, gt=0)

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        lengths = {len(self.higher.cells), len(self.lower.cells)}
        if len(lengths) == 2 and 1 not in lengths:
            raise ValueError("higher and lower have different numbers of levels")
        return self


class Peak(Frozen):
    """The extreme of the curve lies in `window`: its mean is beyond that of every block of equal width elsewhere."""

    rule: Literal["peak"]
    metric: TrainedMetric
    of: Points
    extreme: Literal["highest", "lowest"]
    window: Span


class Threshold(Frozen):
    """The level at which a curve crosses the dense value for good (round margin on either side).

    Before the crossing the curve is `before` the dense value. `published`: the crossing lies between these levels;
    a paper that says "back to dense at L" gives [L, L], "first below dense at L" gives [L - 1, L].
    """

    rule: Literal["threshold"]
    metric: TrainedMetric
    of: Points
    before: Literal["above", "below"]
    published: tuple[float, float]


class LayerShare(Frozen):
    """The share of the prunable weights that lie in `layers`, in percent, is the published one to its last digit.

    Counted from the protocol alone: no network is trained, and nothing is left to chance. `digit`: what one unit of the
    last printed digit is worth.
    """

    rule: Literal["layer-share"]
    layers: tuple[str, ...] = Field(min_length=1)
    published: float = Field(ge=0, le=100)
    digit: float = Field(default=1.0, gt=0)
    metric: Literal["layer-share"] = "layer-share"


TrainedRule = Value | Curve | Difference | Between | LargestGain | Ratio | Ordering | Peak | Threshold
Rule = Annotated[TrainedRule | MaskRule | LayerShare, Field(discriminator="rule")]

__all__ = [
    "Between", "Curve", "Difference", "LargestGain", "LayerShare", "Levels", "Ordering", "Peak", "Points", "Ratio",
    "Rule", "Sample", "Span", "TableRow", "Threshold", "TrainedRule", "Value", "elsewhere", "listed", "needed_cells",
    "points_of",
]  # fmt: skip


def points_of(rule: Rule) -> tuple[Points, ...]:
    """Everything measured in the claim's own protocol that a rule names, without the dense networks it implies."""
    if isinstance(rule, Difference | Ordering):
        return rule.higher, rule.lower
    if isinstance(rule, Ratio):
        return rule.numerator, rule.denominator
    if isinstance(rule, LayerShare):
        return ()
    return (rule.higher,) if isinstance(rule, Between) else (rule.of,)


def elsewhere(rule: Rule) -> tuple[str, Points] | None:
    """The other protocol that a rule looks into, and what it needs of it."""
    return (rule.protocol, rule.lower) if isinstance(rule, Between) else None


def needed_cells(rule: Rule) -> tuple[tuple[str, int], ...]:
    """(method, level) pairs of the claim's own protocol that must be measured in a seed before the rule can use it;
    sorted, each once."""
    cells = {cell for points in points_of(rule) for cell in points.cells}
    if isinstance(rule, LargestGain | Threshold):
        cells.add(("dense", 0))
    return tuple(sorted(cells))
