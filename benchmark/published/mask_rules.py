"""Rules on masks and on the scores behind them, for protocols that train nothing. Data only, as in rules.py."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from benchmark.published.points import Points
from benchmark.spec.frozen import Frozen


class Emptied(Frozen):
    """At every level named, more than half of the masks have an empty layer, or more than half have none."""

    rule: Literal["emptied"]
    of: Points
    expected: Literal["empty", "whole"]
    metric: Literal["empty-layers"] = "empty-layers"


class FirstEmpty(Frozen):
    """Where layers first empty as compression grows, they are all among `layers`, in more than half of the seeds."""

    rule: Literal["first-empty"]
    of: Points
    layers: tuple[str, ...] = Field(min_length=1)
    metric: Literal["empty-layers"] = "empty-layers"


class Collapse(Frozen):
    """The critical compression is that of the published runs: the largest level named at which no layer is empty.

    `table`: by name, a table of densities by layer; `published`: its method. The margin is the larger of the round
    margin and the multiple of the published runs' standard deviation.
    """

    rule: Literal["collapse"]
    of: Points
    table: str
    published: str
    metric: Literal["empty-layers"] = "empty-layers"


class LayerDensity(Frozen):
    """The density of every layer at every level named is that of the published runs, on the log scale.

    The margin is the larger of the ratio margin and the multiple of the published runs' standard deviation, which is
    pooled over the levels named for each layer.
    """

    rule: Literal["layer-density"]
    of: Points
    table: str
    published: str
    metric: Literal["layer-density"] = "layer-density"


class ScoreProperty(Frozen):
    """A property of the scores behind every mask named.

    unit-error, `within: exact`: sums into and out of every hidden unit are equal (margin `exact`).
    score-slope, `within: inverse`: a layer's mean score goes as 1 / its size, the slope of the logarithms being -1
    (ratio margin). prune-to-cut, `within: below-1` or `above-1`: the worst round's score removed over the score of a
    layer; below 1 no layer can empty.
    """

    rule: Literal["score-property"]
    of: Points
    metric: Literal["unit-error", "score-slope", "prune-to-cut"]
    within: Literal["exact", "inverse", "below-1", "above-1"]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        fitting = {"unit-error": ("exact",), "score-slope": ("inverse",), "prune-to-cut": ("below-1", "above-1")}
        if self.within not in fitting[self.metric]:
            raise ValueError(f"within: {self.within} says nothing of {self.metric}; write {fitting[self.metric][0]}")
        return self


MaskRule = Emptied | FirstEmpty | Collapse | LayerDensity | ScoreProperty
