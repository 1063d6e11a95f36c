"""Rules on masks applied to observations. The unit of every test is the seed, as for trained networks. No torch.

Rules on masks and on the scores behind them, for protocols that train nothing. Data only, as in rules.py.

Rules on masks, and what they found, in words. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from statistics import fmean, stdev
from typing import Literal, Self

from pydantic import Field, model_validator

from benchmark.claims import statistics
from benchmark.claims.evidence import Item, Scale, ShareItem
from benchmark.claims.format import MINUS, number, points_text
from benchmark.claims.observations import Observations, Point
from benchmark.claims.rules.base import Points, listed, pooled_sd, where
from benchmark.claims.tables import results
from benchmark.protocols import Protocol
from benchmark.protocols.cells import axis_value, density_text
from benchmark.records.schema import MaskFacts
from benchmark.utils.errors import BadInput
from benchmark.utils.strict_model import Frozen


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

Runs = tuple[tuple[float, ...], ...]  # one row per layer, in the network's order: its density in every run
SMALLEST_ERROR = 1e-18  # what is printed for sums that are equal to the bit


def scale_of(rule: MaskRule) -> Scale:
    """What the numbers of a rule's items are."""
    if isinstance(rule, Collapse):
        return "decades"
    if isinstance(rule, LayerDensity):
        return "log-ratio"
    if isinstance(rule, ScoreProperty):
        scales: dict[str, Scale] = {"unit-error": "log10", "score-slope": "slope", "prune-to-cut": "log-ratio"}
        return scales[rule.metric]
    return "share"


def mask_items(rule: MaskRule, seen: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
    """What a rule tests, over seeds that have every mask it names. Raises BadInput if published layers do not fit."""
    if isinstance(rule, Emptied):
        return tuple(_share(seen, rule, point, seeds) for point in rule.of.cells)
    if isinstance(rule, FirstEmpty):
        return (_first_empty(rule, seen, seeds),)
    if isinstance(rule, Collapse):
        return (_collapse(rule, seen, seeds),)
    if isinstance(rule, LayerDensity):
        return tuple(_densities(rule, seen, seeds))
    return tuple(_property(rule, seen, point, seeds) for point in rule.of.cells)


def _mask(seen: Observations, point: Point, seed: int) -> MaskFacts:
    (mask, *_) = (r.mask for r in seen.records[(*point, seed)] if r.mask is not None)
    return mask


def _holds(where: str, values: Sequence[bool]) -> Item:
    """Share of seeds in which something holds: more than a half of all there could be."""
    return ShareItem(where, statistics.estimate([float(value) for value in values], resolution=1.0), 0.5, math.inf)


def _share(seen: Observations, rule: Emptied, point: Point, seeds: Sequence[int]) -> Item:
    empty = [bool(_mask(seen, point, seed).collapsed_layers) for seed in seeds]
    return _holds(where(seen, [point]), [e == (rule.expected == "empty") for e in empty])


def _first_empty(rule: FirstEmpty, seen: Observations, seeds: Sequence[int]) -> Item:
    found = []
    for seed in seeds:
        empty = [_mask(seen, point, seed).collapsed_layers for point in sorted(rule.of.cells)]
        first = next((layers for layers in empty if layers), ())
        found.append(bool(first) and set(first) <= set(rule.layers))
    return _holds(where(seen, rule.of.cells), found)


def critical(compressions: Sequence[float], empty: Sequence[bool]) -> float:
    """The largest compression, as exponent of 10, at which no layer is empty; 0 (the dense network) if none is."""
    return max((a for a, gone in zip(compressions, empty, strict=True) if not gone), default=0.0)


def _collapse(rule: Collapse, seen: Observations, seeds: Sequence[int]) -> Item:
    """Ours against the published runs, by Welch's test.

    Where the published runs' deviation makes the margin, three runs estimate that, and the error level does not hold on
    the edge: 11 to 15 % of simulated worlds come out `reproduced`, as with `accuracy_margin`.
    """
    protocol = seen.protocol
    levels = listed(rule.of.levels)
    axis = [axis_value(protocol, level) for level in levels]
    ours = [
        critical(axis, [bool(_mask(seen, (rule.of.method, lv), s).collapsed_layers) for lv in levels]) for s in seeds
    ]
    tables = [published_layers(protocol, rule.table, rule.published, level) for level in levels]
    runs = range(len(tables[0][0]))
    theirs = [critical(axis, [any(layer[run] == 0 for layer in table) for table in tables]) for run in runs]
    step = level_step(protocol)
    published = statistics.estimate(theirs, step)
    margins = protocol.statistics.margins
    margin = max(margins.density_rounds * step, margins.seed_sd_multiple * stdev(theirs))
    here = statistics.estimate(ours, step)
    gap = statistics.difference(here, published)
    return Item(f"published mean {published.mean:.2f}", gap, -margin, margin, published.se, here.mean)


def level_step(protocol: Protocol) -> float:
    """Mean distance of neighbouring levels on the axis, in decades of compression."""
    last = len(protocol.level_table) - 1
    return (axis_value(protocol, last) - axis_value(protocol, 1)) / (last - 1)


def _densities(rule: LayerDensity, seen: Observations, seeds: Sequence[int]) -> list[Item]:
    protocol, margins = seen.protocol, seen.protocol.statistics.margins
    sizes = protocol.pruning.layer_sizes
    tables = {level: published_layers(protocol, rule.table, rule.published, level) for level in listed(rule.of.levels)}
    items = []
    for place, (layer, size) in enumerate(sizes.items()):
        logs = {lv: [math.log(max(d, 0.5 / size)) for d in rows[place]] for lv, rows in tables.items()}
        sd, df = pooled_sd(list(logs.values()))
        margin = max(math.log1p(margins.ratio), margins.seed_sd_multiple * sd)
        for level, theirs in logs.items():
            kept = [_mask(seen, (rule.of.method, level), seed).layers[layer].kept for seed in seeds]
            grid = 1 / max(fmean(kept), 0.5)
            here = statistics.estimate([math.log(max(k, 0.5) / size) for k in kept], grid)
            published = statistics.known(fmean(theirs), sd, len(theirs), df)
            gap = statistics.difference(here, published)
            items.append(Item(f"in {layer} at {density_text(protocol, level)}", gap, -margin, margin, published.se))
    return items


def _property(rule: ScoreProperty, seen: Observations, point: Point, seeds: Sequence[int]) -> Item:
    margins = seen.protocol.statistics.margins
    values = [v for seed in seeds if (v := seen.value(rule.metric, point, seed)) is not None]
    if rule.metric == "score-slope":
        return Item(where(seen, [point]), statistics.estimate(values), -1 - margins.ratio, -1 + margins.ratio)
    if rule.metric == "unit-error":
        logs = [math.log10(max(value, SMALLEST_ERROR)) for value in values]
        # A protocol without the margin shows nothing exact: its window is empty of any error that floats have.
        return Item(where(seen, [point]), statistics.estimate(logs), -math.inf, math.log10(margins.exact or 1e-300))
    below = rule.within == "below-1"
    bounds = (-math.inf, 0.0) if below else (0.0, math.inf)
    return Item(where(seen, [point]), statistics.estimate([math.log(value) for value in values]), *bounds)


def published_layers(protocol: Protocol, table: str, method: str, level: int) -> Runs:
    """Published densities by layer at a level, of every run. Raises BadInput if the layers are not the network's.

    Layers are matched by their order, and must have the sizes of the protocol's.
    """
    found = _by_compression(protocol.paper.key, table, method)
    x = min(found, key=lambda a: abs(a - axis_value(protocol, level)), default=math.inf)
    if abs(x - axis_value(protocol, level)) > level_step(protocol) / 2:
        raise BadInput(f"table '{table}'", f"holds nothing of {method} at level {level}", "Name a published level")
    layers = found[x]
    if [size for size, _ in layers] != list(protocol.pruning.layer_sizes.values()):
        raise BadInput(f"table '{table}'", f"its layers have not the sizes of {protocol.id}'s", "Name another table")
    return tuple(runs for _, runs in layers)


@cache
def _by_compression(paper: str, table: str, method: str) -> dict[float, list[tuple[int, tuple[float, ...]]]]:
    """Exponent of 10 -> (size, densities by run) of each layer, in the table's order."""
    found: dict[float, list[tuple[int, tuple[float, ...]]]] = {}
    for row in results(paper, table):
        if row.method == method and row.quantity == "layer-density" and row.density:
            found.setdefault(-math.log10(row.density), []).append((int(dict(row.labels)["size"]), row.values))
    return found


def mask_rule_text(rule: MaskRule, protocol: Protocol) -> str:
    """What is tested, in one sentence."""
    where, margins = points_text(protocol, rule.of), protocol.statistics.margins
    spread = f"{margins.seed_sd_multiple:g} sd of the published runs"
    match rule:
        case Emptied():
            return f"{'some layer is' if rule.expected == 'empty' else 'no layer is'} empty in {where}"
        case FirstEmpty():
            return f"the first layers to empty in {where} are among {', '.join(rule.layers)}"
        case Collapse():
            window = f"one step of the grid, or {spread} if that is more"
            return f"the largest compression without an empty layer, of {where}, is the published one, within {window}"
        case LayerDensity():
            window = f"within {100 * margins.ratio:.0f} % relative, or {spread} if that is more"
            return f"every layer's density in {where} is the published one, {window}"
        case ScoreProperty():
            return f"{_property_text(rule, protocol)}, in {where}"


def _property_text(rule: ScoreProperty, protocol: Protocol) -> str:
    if rule.metric == "unit-error":
        margin = protocol.statistics.margins.exact
        equal = "" if margin is None else f", to {margin:g} relative"
        return f"scores into and out of every hidden unit sum to the same{equal}"
    if rule.metric == "score-slope":
        return "a layer's mean score goes as its size to the power of -1"
    bound = "less" if rule.within == "below-1" else "more"
    return f"the worst round removes {bound} score than the smallest layer has"


def mask_window_text(item: Item, scale: Scale) -> str:
    """Where a quantity must lie."""
    if scale == "share":
        return "more than half of the seeds"
    if scale == "log10":
        return f"below 10^{number(item.high, 0)}"
    if scale == "decades":
        return f"{number(item.low, sign=True)} to {number(item.high, sign=True)} decades"
    return f"{number(item.low)} to {number(item.high)}"


def mask_item_text(item: Item, scale: Scale, alpha: float) -> str:
    """Mean and 1 - alpha t interval of an item."""
    low, high = item.interval(alpha)
    mean = item.estimate.mean
    if scale == "share":
        return f"{round(mean * item.estimate.n)} of {item.estimate.n} seeds"
    if scale == "log10":
        return f"error 10^{number(mean, 1)}"
    bounds = f"[{number(low, sign=True)}, {number(high, sign=True)}]"
    if scale == "decades":
        off = f"off by {number(mean, sign=True)} decades {bounds}"
        return off if item.measured is None else f"10^{number(item.measured)}, {off}"
    return f"{number(mean)} {bounds}" if math.isfinite(mean) else MINUS
