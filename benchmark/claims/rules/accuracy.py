"""Rules applied to observations. Each function turns one kind of rule into evidence.

Rules: how a claim is decided. Data only; benchmark/scoring evaluates them.

A rule is written from the paper's statement alone. Levels are the protocol's, 0 = dense. Margins stand in the
protocol (`statistics.margins`), so no rule carries its own, and none was chosen after a result was seen.

Evidence apart from paired seeds of one protocol: two protocols side by side, and counts that need no run.

Published runs that a curve is compared with, read once. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from benchmark.claims import statistics
from benchmark.claims.evidence import Evidence, Item, LargestItem, Scale
from benchmark.claims.observations import Observations, Point
from benchmark.claims.rules.base import (
    DENSE_POINT,
    Points,
    Sample,
    Span,
    accuracy_margin,
    averages,
    blocks,
    crossing,
    interpolated,
    listed,
    mean_curve,
    paired,
    pairs,
    place,
    pooled_sd,
    resolution,
    rows,
    sample_of,
    where,
)
from benchmark.claims.rules.masks import MaskRule, mask_items, scale_of
from benchmark.claims.tables import Moment, Result, results
from benchmark.protocols import Protocol
from benchmark.records.schema import Accuracy, Metric, TrainedMetric
from benchmark.utils.strict_model import Frozen


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


def between_protocols(rule: Between, seen: Observations, other: Observations) -> Evidence:
    """Not paired: each side has its own seeds, and the margin is the wider of the two protocols'."""
    samples = [(seen, rule.higher.cells), (other, rule.lower.cells)]
    seeds = [side.complete_seeds(rule.metric, cells) for side, cells in samples]
    failures = tuple(text for side, cells in samples for text in side.failed(cells))
    if not all(seeds):
        return Evidence((), "points", (), failures)
    margin = max(accuracy_margin(side, rule.metric, None) for side, _ in samples)
    here, there = (
        statistics.estimate(averages(side, rule.metric, cells, own), side.resolution(rule.metric))
        for (side, cells), own in zip(samples, seeds, strict=True)
    )
    high = rule.published + margin if rule.bound == "equal" else math.inf
    gap = statistics.difference(here, there)
    item = Item(where(seen, rule.higher.cells), gap, rule.published - margin, high)
    return Evidence((item,), "points", min(seeds, key=len), failures)


def counted_share(rule: LayerShare, seen: Observations) -> Evidence:
    """Of the protocol's layers, whatever was measured."""
    sizes = seen.protocol.pruning.layer_sizes
    share = 100 * sum(sizes[layer] for layer in rule.layers) / sum(sizes.values())
    half = rule.digit / 2
    item = Item("", statistics.Estimate(share, 0.0, 1.0, 1), rule.published - half, rule.published + half)
    return Evidence((item,), "percent", (), (), exact=True)


def published_runs(protocol: Protocol, rule: Curve) -> dict[int, tuple[float, ...]]:
    """Level -> published accuracies in percent, one per run. Raises BadInput if the paper has no such table."""
    return runs_by_level(results(protocol.paper.key, rule.table), protocol, rule)


def evaluate(rule: Rule, seen: Observations, beside: Mapping[str, Observations] | None = None) -> Evidence:
    """Evidence on one check from the seeds that have everything it needs.

    `beside`: other protocols by id, into which `between` looks. Raises KeyError if its protocol is not among them.
    """
    if isinstance(rule, LayerShare):
        return counted_share(rule, seen)
    if isinstance(rule, Between):
        return between_protocols(rule, seen, (beside or {})[rule.protocol])
    cells = needed_cells(rule)
    seeds = seen.complete_seeds(rule.metric, cells)
    items: tuple[Item, ...] = ()
    centre: Item | None = None
    if seeds:
        if isinstance(rule, Value):
            items = _value(rule, seen, seeds)
        elif isinstance(rule, Curve):
            items = _curve(rule, seen, seeds)
        elif isinstance(rule, Difference):
            items = _difference(rule, seen, seeds)
        elif isinstance(rule, LargestGain):
            items = _largest_gain(rule, seen, seeds)
        elif isinstance(rule, Ratio):
            items = _ratio(rule, seen, seeds)
        elif isinstance(rule, Ordering):
            items = _ordering(rule, seen, seeds)
        elif isinstance(rule, Peak):
            items = _peak(rule, seen, seeds)
        elif isinstance(rule, Threshold):
            items, centre = _threshold(rule, seen, seeds)
        else:
            items = mask_items(rule, seen, seeds)
    last = float(max(level for _, level in cells)) if isinstance(rule, Threshold) else None
    return Evidence(items, _scale(rule), seeds, seen.failed(cells), orders(rule), centre, last)


def orders(rule: Rule) -> bool:
    """Whether a check is an ordering, to which Holm's correction over the paper applies."""
    return isinstance(rule, Ordering | Peak)


def _scale(rule: Rule) -> Scale:
    if isinstance(rule, Threshold):
        return "rounds"
    if isinstance(rule, MaskRule):
        return scale_of(rule)
    return "log-ratio" if rule.metric == "early-stop-step" else "points"


def _value(rule: Value, seen: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
    published, sd = sample_of(rule.published)
    margin = accuracy_margin(seen, rule.metric, sd)
    items = []
    for point in rule.of.cells:
        here = statistics.estimate(rows(seen, rule.metric, point, seeds), seen.resolution(rule.metric))
        gap = statistics.difference(here, published)
        items.append(Item(where(seen, [point]), gap, -margin, margin, published.se, here.mean))
    return tuple(items)


def _curve(rule: Curve, seen: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
    """Each group of levels against the published runs, averaged over the same levels.

    The spread of a single level makes the margin, that of the averages the published means' standard errors.
    """
    curve = published_runs(seen.protocol, rule)
    groups = blocks(listed(rule.of.levels), rule.width)
    trials = [mean_curve([curve[level] for level in group]) for group in groups]
    pooled, single = pooled_sd(trials), pooled_sd([curve[level] for group in groups for level in group])[0]
    items = []
    for group, runs in zip(groups, trials, strict=True):
        points = [(rule.of.method, level) for level in group]
        here = statistics.estimate(averages(seen, rule.metric, points, seeds), seen.resolution(rule.metric))
        sd, df = pooled if rule.spread == "pooled" else pooled_sd([runs])
        published = statistics.known(fmean(runs), sd, len(runs), df)
        margin = accuracy_margin(seen, rule.metric, single if rule.spread == "pooled" else sd)
        gap = statistics.difference(here, published)
        items.append(Item(where(seen, points), gap, -margin, margin, published.se, here.mean))
    return tuple(items)


def _difference(rule: Difference, seen: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
    margin = accuracy_margin(seen, rule.metric, None)
    high = rule.published + margin if rule.bound == "equal" else math.inf
    return tuple(
        Item(place(seen, [pair]), paired(seen, rule.metric, [pair], seeds), rule.published - margin, high)
        for pair in pairs(rule.higher, rule.lower)
    )


def _gains(seen: Observations, metric: Metric, of: Points, seeds: Sequence[int]) -> list[list[float]]:
    """One row per seed: value - dense at every level, in the metric's own unit."""
    gains = []
    for seed in seeds:
        dense = seen.value(metric, DENSE_POINT, seed)
        values = [seen.value(metric, point, seed) for point in of.cells]
        gains.append([v - dense for v in values if v is not None and dense is not None])
    return gains


def _largest_gain(rule: LargestGain, seen: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
    """No level may gain more than the margin above what was published, and some level must gain that, less the margin.

    The largest of many means lies too high by chance. Testing it as if it were one mean, with a jackknife's standard
    error, says `reproduced` in up to 40 % of flat worlds on the edge (tests/test_error_rates.py); tests level by level
    keep the error level whatever the curve.
    """
    margin = accuracy_margin(seen, rule.metric, None)
    gains = [(paired(seen, rule.metric, [(p, DENSE_POINT)], seeds), where(seen, [p])) for p in rule.of.cells]
    highest, at = max(gains, key=lambda gain: gain[0].mean)
    low, high = rule.published - margin, rule.published + margin
    enough = LargestItem(at, highest, low, math.inf, among=tuple(e for e, _ in gains))
    return (enough, *(Item(at_level, e, -math.inf, high) for e, at_level in gains))


def _ratio(rule: Ratio, seen: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
    margin = math.log1p(seen.protocol.statistics.margins.ratio)
    centre = math.log(rule.published)
    return tuple(
        Item(place(seen, [pair]), paired(seen, rule.metric, [pair], seeds), centre - margin, centre + margin)
        for pair in pairs(rule.numerator, rule.denominator)
    )


def _ordering(rule: Ordering, seen: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
    everywhere = pairs(rule.higher, rule.lower)
    groups = [everywhere] if rule.over == "average" else blocks(everywhere, rule.width)
    return tuple(Item(place(seen, g), paired(seen, rule.metric, g, seeds), 0.0, math.inf) for g in groups)


def _peak(rule: Peak, seen: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
    """The window against every block of its width before it and after it."""
    levels = listed(rule.of.levels)
    window = [level for level in listed(rule.window) if level in levels]
    before = [level for level in levels if level < rule.window.first]
    after = [level for level in levels if level > rule.window.last]
    rivals = [*(b[::-1] for b in blocks(before[::-1], len(window))), *blocks(after, len(window))]

    def cells(group: Sequence[int]) -> list[Point]:
        return [(rule.of.method, level) for level in group]

    sign = 1.0 if rule.extreme == "highest" else -1.0
    here = averages(seen, rule.metric, cells(window), seeds)
    grid = resolution(seen, rule.metric, cells(levels), seeds)
    items = []
    for rival in sorted(rivals):
        there = averages(seen, rule.metric, cells(rival), seeds)
        gaps = [sign * (x - y) for x, y in zip(here, there, strict=True)]
        against = "against " + where(seen, cells(rival)).removeprefix("at ")
        items.append(Item(against, statistics.estimate(gaps, grid), 0.0, math.inf))
    return tuple(items)


def _threshold(rule: Threshold, seen: Observations, seeds: Sequence[int]) -> tuple[tuple[Item, ...], Item]:
    """The curve must be on its first side where the window opens and on the other where it closes.

    Tests at the two ends hold their error level with few seeds, where a jackknife interval of the crossing may not
    (all leave-one-out curves can cross at the same place by chance); the jackknife only gives what is printed.
    Farther off, no level may lie on the wrong side by more than the metric's margin: a curve that dips below and
    comes back does not cross for good in the window.
    """
    levels = [0, *listed(rule.of.levels)]
    sign = 1.0 if rule.before == "above" else -1.0
    curves = [[0.0, *(sign * gain for gain in gains)] for gains in _gains(seen, rule.metric, rule.of, seeds)]
    tolerance = seen.protocol.statistics.margins.density_rounds
    opens, closes = rule.published[0] - tolerance, rule.published[1] + tolerance
    step = seen.resolution(rule.metric)
    ends = [statistics.estimate([interpolated(levels, curve, x) for curve in curves], step) for x in (opens, closes)]
    items = (
        Item("where the window opens", ends[0], 0.0, math.inf),
        Item("where the window closes", ends[1], -math.inf, 0.0),
        *_beyond(rule, seen, seeds, opens, closes),
    )
    found = statistics.jackknife(lambda sample: crossing(levels, mean_curve(sample)), curves, 1.0)
    return items, Item("", found, opens, closes)


def _beyond(rule: Threshold, seen: Observations, seeds: Sequence[int], opens: float, closes: float) -> Iterator[Item]:
    """Every level outside the window: not on the wrong side by more than the margin."""
    margins = seen.protocol.statistics.margins
    steps = rule.metric == "early-stop-step"
    margin = math.log1p(margins.ratio) if steps else accuracy_margin(seen, rule.metric, None)
    for point in rule.of.cells:
        if opens <= point[1] <= closes:
            continue
        gain = paired(seen, rule.metric, [(point, DENSE_POINT)], seeds)
        above = (rule.before == "above") == (point[1] < opens)
        yield Item(where(seen, [point]), gain, *((-margin, math.inf) if above else (-math.inf, margin)))


TAKEN: Mapping[Metric, Moment] = {
    "last-accuracy": "last",
    "best-accuracy": "best-test",
    "early-stop-accuracy": "early-stop",
}


SAME_DENSITY = 2e-3  # relative: tables print three to six digits, neighbouring levels differ by 1 % and more


def runs_by_level(rows: Iterable[Result], protocol: Protocol, rule: Curve) -> dict[int, tuple[float, ...]]:
    """Level -> accuracy of every run in percent, of the rule's setting, methods and metric.

    Only the rule's levels; one without runs is not in it.
    """
    found: dict[int, tuple[float, ...]] = {}
    weight = 1 / sum(protocol.pruning.layer_sizes.values())
    wanted = {level: protocol.level_table[level].density for level in listed(rule.of.levels)}
    for row in rows:
        if row.setting != rule.setting or row.method not in rule.published or not _taken(row, rule):
            continue
        for level, density in wanted.items():
            if row.density is not None and math.isclose(row.density, density, rel_tol=SAME_DENSITY, abs_tol=weight):
                found[level] = found.get(level, ()) + tuple(percent_accuracy(value, row) for value in row.values)
    return {level: runs for level, runs in found.items() if runs}


def _taken(row: Result, rule: Curve) -> bool:
    return row.quantity in ("test-accuracy", "test-error") and row.at == TAKEN[rule.metric]


def percent_accuracy(value: float, row: Result) -> float:
    """A row's accuracy or error, in its unit, as an accuracy in percent."""
    percent = 100 * value if row.unit == "fraction" else value
    return 100 - percent if row.quantity == "test-error" else percent
