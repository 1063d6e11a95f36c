"""Equality with published numbers: a mean at some levels, or a whole curve of published runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Literal, Self

from pydantic import Field, model_validator

from benchmark.claims import statistics
from benchmark.claims.evidence import Item
from benchmark.claims.observations import ANALYSED, Observations
from benchmark.claims.rules.base import FIX_TARGET, RULES, Rule, RunsRule, TargetTable
from benchmark.claims.rules.cells import Points, Sample, TableRow, listed
from benchmark.claims.rules.sampling import accuracy_margin, averages, blocks, mean_curve, values_by_seed, where
from benchmark.claims.table_reader import results
from benchmark.claims.tables import Moment, Result, why_no_target
from benchmark.claims.wording import number, points_text
from benchmark.protocols import Protocol
from benchmark.records.schema import Accuracy, Analysed, Metric, TrainedMetric
from benchmark.utils.errors import did_you_mean

MOMENTS: Mapping[Metric, Moment] = {
    "last-accuracy": "last",
    "best-accuracy": "best-test",
    "early-stop-accuracy": "early-stop",
}
"""When in a run a published number must have been taken to be compared with a metric."""


@RULES.register("value")
class Value(Rule):
    """The metric of a method equals a published mean at every level named (accuracy margin, or that of an analysis's
    number).

    `within`: a narrower margin than the protocol's, for a value that the protocol's reaches down to 0 from: what equals
    nothing must not pass for it.
    """

    rule: Literal["value"]
    metric: TrainedMetric | Analysed
    of: Points
    published: Sample
    within: float | None = Field(default=None, gt=0)

    def misfits(self, protocol: Protocol) -> Iterator[str]:
        """`within` has to be narrower than the protocol's margin."""
        yield from super().misfits(protocol)
        margins = protocol.statistics.margins
        wider = margins.analysed.get(self.metric.removeprefix(ANALYSED), margins.accuracy_points)
        if self.within is not None and self.within >= wider:
            yield f"within {self.within:g} is not narrower than the margin of {protocol.id}, {wider:g}"

    @property
    def points(self) -> tuple[Points, ...]:
        """The levels named."""
        return (self.of,)

    @property
    def target_table(self) -> str | None:
        """The table of its row, if it names one."""
        return self.published.row.table if self.published.row else None

    def target_misfit(self, target: TargetTable, protocol: Protocol) -> tuple[str, str] | None:
        """Its row must stand there once, be a target, and hold the same numbers."""
        wanted = self.published.row
        assert wanted is not None  # else it has no table
        rows = [result for result in target.rows if _is_row(result, wanted)]
        if len(rows) != 1:
            return f"{len(rows)} rows of '{target.table.name}' are {wanted.words}", FIX_TARGET
        (row,) = rows
        if why := why_no_target(target.source, row.status):
            return f"a rule rests on table '{target.table.name}', but {why}", FIX_TARGET
        if why := _differs(self.metric, self.published, row):
            return f"{why} in {target.table.source} ({wanted.words})", FIX_TARGET
        return None

    @property
    def published_sample(self) -> Sample | None:
        """The published mean."""
        return self.published

    def items(self, observations: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
        """Measured minus published mean at each level, by Welch's test."""
        published, sd = self.published.estimate()
        margin = self.within or accuracy_margin(observations, self.metric, sd)
        items = []
        for point in self.of.cells:
            values = values_by_seed(observations, self.metric, point, seeds)
            here = statistics.estimate(values, observations.resolution(self.metric))
            gap = statistics.difference(here, published)
            items.append(
                Item(
                    where(observations, [point]), gap, -margin, margin, published.se, here.mean, self.unit(observations)
                )
            )
        return tuple(items)

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        within = "" if self.within is None else f" within {number(self.within)}"
        return f"{self.metric_name} of {points_text(protocol, self.of)} equals {_sample_text(self.published)}{within}"


@RULES.register("curve")
class Curve(RunsRule):
    """A whole curve equals the published runs: those of `published` methods of a setting in a `table`, by name.

    `width` neighbouring levels are averaged: a single round of a curve with two trials is known worse than the margin;
    neighbours in density measure nearly the same thing, so their averages can be compared. `spread`: the runs' standard
    deviation is pooled over all levels, or each level's own, where it grows along the curve.
    """

    rule: Literal["curve"]
    metric: Accuracy
    setting: str
    published: tuple[str, ...] = Field(min_length=1)
    width: int = Field(default=1, gt=0)
    spread: Literal["pooled", "own"]

    @model_validator(mode="after")
    def _one_level_each(self) -> Self:
        if self.spread == "own" and self.width > 1:
            raise ValueError("a level has no spread of its own where levels are averaged; write spread: pooled")
        return self

    def target_misfit(self, target: TargetTable, protocol: Protocol) -> tuple[str, str] | None:
        """Every level of the curve must have runs there, and enough of them to know their spread."""
        methods = sorted({row.method for row in target.rows if row.setting == self.setting})
        for method in self.published:
            if method not in methods:
                cause = f"table '{self.table}' has no '{method}' of setting '{self.setting}'"
                return cause, did_you_mean(method, methods)
        runs = self._runs_by_level(target.rows, protocol)
        for level in listed(self.of.levels):
            if len(runs.get(level, ())) < 2:
                return f"table '{self.table}' has fewer than two runs for {self.metric} at level {level}", FIX_TARGET
        return None

    def published_runs(self, protocol: Protocol) -> dict[int, tuple[float, ...]]:
        """Level -> published accuracies in percent, one per run. Raises BadInput if the paper has no such table."""
        return self._runs_by_level(results(protocol.paper.key, self.table), protocol)

    def _runs_by_level(self, rows: Iterable[Result], protocol: Protocol) -> dict[int, tuple[float, ...]]:
        """Of the rule's setting, methods, metric and levels; a level without runs is not in it."""
        return self.runs_at_levels(
            protocol,
            (
                (row, tuple(_percent_accuracy(value, row) for value in row.values))
                for row in rows
                if row.setting == self.setting and row.method in self.published and self._measures(row)
            ),
        )

    def _measures(self, row: Result) -> bool:
        return row.quantity in ("test-accuracy", "test-error") and row.at == MOMENTS[self.metric]

    def items(self, observations: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
        """Each group of levels against the published runs, averaged over the same levels.

        The spread of a single level makes the margin, that of the averages the published means' standard errors.
        """
        curve = self.published_runs(observations.protocol)
        groups = blocks(listed(self.of.levels), self.width)
        trials = [mean_curve([curve[level] for level in group]) for group in groups]
        pooled = statistics.pooled_sd(trials)
        single = statistics.pooled_sd([curve[level] for group in groups for level in group])[0]
        items = []
        for group, runs in zip(groups, trials, strict=True):
            points = [(self.of.method, level) for level in group]
            values = averages(observations, self.metric, points, seeds)
            here = statistics.estimate(values, observations.resolution(self.metric))
            sd, df = pooled if self.spread == "pooled" else statistics.pooled_sd([runs])
            published = statistics.known(fmean(runs), sd, len(runs), df)
            margin = accuracy_margin(observations, self.metric, single if self.spread == "pooled" else sd)
            gap = statistics.difference(here, published)
            items.append(Item(where(observations, points), gap, -margin, margin, published.se, here.mean))
        return tuple(items)

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        width = f"rounds in averages of {self.width} neighbouring levels"
        runs = width if self.width > 1 else "runs at every level"
        return f"{self.metric_name} of {points_text(protocol, self.of)} equals the published {runs}"


def _sample_text(sample: Sample) -> str:
    """A published mean with what is known of its spread."""
    if sample.values is not None:
        mean = sum(sample.values) / len(sample.values)
        return f"{number(mean)} (mean of {', '.join(number(v, 1) for v in sample.values)})"
    assert sample.mean is not None  # the model's validator sees to it
    runs = "n not stated" if sample.n is None else f"n = {sample.n}"
    spread = f" ± {number(sample.sd)} sd, {runs}" if sample.sd is not None else ""
    return f"{number(sample.mean)}{spread}"


def _is_row(result: Result, row: TableRow) -> bool:
    return (
        (result.setting, result.method, result.x) == (row.setting, row.method, row.x)
        and row.column in (None, result.column)
        and row.labels.items() <= dict(result.labels).items()
    )


def _percent_accuracy(value: float, row: Result) -> float:
    """A row's accuracy or error, in its unit, as an accuracy in percent."""
    percent = 100 * value if row.unit == "fraction" else value
    return 100 - percent if row.quantity == "test-error" else percent


def _differs(metric: Metric, sample: Sample, row: Result) -> str | None:
    """What of a sample is not what the row says; None if all is. Accuracies of a sample are in percent."""
    if row.quantity not in ("test-accuracy", "test-error") or metric not in MOMENTS:
        return f"{metric} is compared with {row.quantity}"
    if row.at not in (MOMENTS[metric], "not-stated"):
        return f"{metric} is compared with a number taken at '{row.at}'"
    if sample.values is not None:
        values = [_percent_accuracy(value, row) for value in row.values]
        return None if _close(sample.values, values) else f"values {sample.values} are {tuple(values)}"
    mean = _percent_accuracy(row.mean, row)
    if sample.mean is None or not _close([sample.mean], [mean]):
        return f"mean {sample.mean} is {mean:g}"
    return _spread_differs(sample, row)


def _spread_differs(sample: Sample, row: Result) -> str | None:
    if sample.sd is not None:
        if row.spread is None or row.spread_kind not in ("sd", "sample-sd"):
            return f"sd {sample.sd} is no standard deviation but {row.spread_kind}"
        sd = 100 * row.spread if row.unit == "fraction" else row.spread
        if not _close([sample.sd], [sd]):
            return f"sd {sample.sd} is {sd:g}"
    return f"n {sample.n} is {row.n or 'not stated'}" if sample.n not in (None, row.n) else None


def _close(a: Sequence[float], b: Sequence[float]) -> bool:
    return len(a) == len(b) and all(math.isclose(x, y, abs_tol=5e-5) for x, y in zip(a, b, strict=True))
