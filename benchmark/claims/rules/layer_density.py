"""Densities by layer against those of published masks, which the critical compression is counted from as well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from statistics import fmean
from typing import Literal

from benchmark.claims import statistics
from benchmark.claims.evidence import Item, Scale
from benchmark.claims.observations import Observations, Point
from benchmark.claims.rules.base import RULES, RunsRule, TargetTable
from benchmark.claims.rules.cells import listed
from benchmark.claims.table_reader import results
from benchmark.claims.wording import points_text
from benchmark.protocols import Protocol
from benchmark.protocols.cells import axis_value, density_text
from benchmark.records.schema import MaskFacts
from benchmark.utils.errors import BadInput, did_you_mean

Runs = tuple[tuple[float, ...], ...]
"""One row per layer, in the network's order: its density in every run."""


class OfPublishedLayers(RunsRule):
    """A rule that compares masks with published runs of densities by layer."""

    published: str

    def target_misfit(self, target: TargetTable, protocol: Protocol) -> tuple[str, str] | None:
        """The table must hold several runs of the method."""
        known = {row.method for row in target.rows if row.quantity == "layer-density" and len(row.values) > 1}
        if self.published in known:
            return None
        cause = f"table '{self.table}' holds no runs of densities by layer of '{self.published}'"
        return cause, did_you_mean(self.published, sorted(known))


@RULES.register("layer-density")
class LayerDensity(OfPublishedLayers):
    """The density of every layer at every level named is that of the published runs, on the log scale.

    The margin is the larger of the ratio margin and the multiple of the published runs' standard deviation, which is
    pooled over the levels named for each layer.
    """

    rule: Literal["layer-density"]
    metric: Literal["layer-density"] = "layer-density"

    @property
    def scale(self) -> Scale:
        """Natural logarithms of ratios."""
        return "log-ratio"

    def items(self, observations: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
        """Each layer at each level, by Welch's test. An empty layer counts as half a weight."""
        protocol, margins = observations.protocol, observations.protocol.statistics.margins
        levels = listed(self.of.levels)
        tables = {level: published_layers(protocol, self.table, self.published, level) for level in levels}
        items = []
        for index, (layer, size) in enumerate(protocol.pruning.layer_sizes.items()):
            logs = {lv: [math.log(max(d, 0.5 / size)) for d in table[index]] for lv, table in tables.items()}
            sd, df = statistics.pooled_sd(list(logs.values()))
            margin = max(math.log1p(margins.ratio), (margins.seed_sd_multiple or 0.0) * sd)
            for level, runs in logs.items():
                point = (self.of.method, level)
                remaining = [mask_of(observations, point, seed).layers[layer].kept for seed in seeds]
                grid = 1 / max(fmean(remaining), 0.5)
                here = statistics.estimate([math.log(max(n, 0.5) / size) for n in remaining], grid)
                published = statistics.known(fmean(runs), sd, len(runs), df)
                gap = statistics.difference(here, published)
                at = f"in {layer} at {density_text(protocol, level)}"
                items.append(Item(at, gap, -margin, margin, published.se))
        return tuple(items)

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        margins = protocol.statistics.margins
        spread = f"{margins.seed_sd_multiple:g} sd of the published runs"
        window = f"within {100 * margins.ratio:.0f} % relative, or {spread} if that is more"
        return f"every layer's density in {points_text(protocol, self.of)} is the published one, {window}"


def mask_of(observations: Observations, point: Point, seed: int) -> MaskFacts:
    """What the record of a cell that is measured says of its mask."""
    (mask, *_) = (record.mask for record in observations.records[(*point, seed)] if record.mask is not None)
    return mask


def level_step(protocol: Protocol) -> float:
    """Mean distance of neighbouring levels on the axis, in decades of compression."""
    last = len(protocol.level_table) - 1
    return (axis_value(protocol, last) - axis_value(protocol, 1)) / (last - 1)


def published_layers(protocol: Protocol, table: str, method: str, level: int) -> Runs:
    """Published densities by layer at a level, of every run. Raises BadInput if the layers are not the network's.

    Layers are matched by their order, and must have the sizes of the protocol's.
    """
    layers_at = _by_compression(protocol.paper.key, table, method)
    x = min(layers_at, key=lambda a: abs(a - axis_value(protocol, level)), default=math.inf)
    if abs(x - axis_value(protocol, level)) > level_step(protocol) / 2:
        raise BadInput(f"table '{table}'", f"holds nothing of {method} at level {level}", "Name a published level")
    layers = layers_at[x]
    if [size for size, _ in layers] != list(protocol.pruning.layer_sizes.values()):
        raise BadInput(f"table '{table}'", f"its layers have not the sizes of {protocol.id}'s", "Name another table")
    return tuple(runs for _, runs in layers)


@cache
def _by_compression(paper: str, table: str, method: str) -> dict[float, list[tuple[int, tuple[float, ...]]]]:
    """Exponent of 10 -> (size, densities by run) of each layer, in the table's order."""
    layers: dict[float, list[tuple[int, tuple[float, ...]]]] = {}
    for row in results(paper, table):
        if row.method == method and row.quantity == "layer-density" and row.density:
            layers.setdefault(-math.log10(row.density), []).append((int(dict(row.labels)["size"]), row.values))
    return layers
