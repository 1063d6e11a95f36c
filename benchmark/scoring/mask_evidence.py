"""Rules on masks applied to observations. The unit of every test is the seed, as for trained networks. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from statistics import fmean, stdev

from benchmark import statistics
from benchmark.errors import BadInput
from benchmark.protocol import Protocol
from benchmark.published import results
from benchmark.published.mask_rules import Collapse, Emptied, FirstEmpty, LayerDensity, MaskRule, ScoreProperty
from benchmark.published.points import listed
from benchmark.records import MaskFacts
from benchmark.scoring.curves import pooled_sd
from benchmark.scoring.evidence import Item, Scale, ShareItem
from benchmark.scoring.observations import Observations, Point
from benchmark.scoring.samples import where
from benchmark.units import axis_value, density_text

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
    for number, (layer, size) in enumerate(sizes.items()):
        logs = {lv: [math.log(max(d, 0.5 / size)) for d in rows[number]] for lv, rows in tables.items()}
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
