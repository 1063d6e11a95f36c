"""Layer collapse: masks with empty layers, which layers empty first, and the critical compression.

The masks of protocols that train nothing. The unit of every test is the seed, as for trained networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import stdev
from typing import Literal

from pydantic import Field

from benchmark.claims import statistics
from benchmark.claims.evidence import Item, Scale, ShareItem
from benchmark.claims.observations import Observations, Point
from benchmark.claims.rules.base import RULES, Rule
from benchmark.claims.rules.cells import Points, listed
from benchmark.claims.rules.layer_density import OfPublishedLayers, level_step, mask_of, published_layers
from benchmark.claims.rules.sampling import where
from benchmark.claims.wording import points_text
from benchmark.protocols import Protocol
from benchmark.protocols.cells import axis_value


class _ShareOfSeeds(Rule):
    """What holds in more than half of the seeds."""

    of: Points
    metric: Literal["empty-layers"] = "empty-layers"

    @property
    def points(self) -> tuple[Points, ...]:
        """The masks named."""
        return (self.of,)

    @property
    def scale(self) -> Scale:
        """Share of the seeds."""
        return "share"


@RULES.register("emptied")
class Emptied(_ShareOfSeeds):
    """At every level named, more than half of the masks have an empty layer, or more than half have none."""

    rule: Literal["emptied"]
    expected: Literal["empty", "whole"]

    def items(self, observations: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
        """The share of seeds in which it is as expected, at each level."""
        return tuple(self._item(observations, point, seeds) for point in self.of.cells)

    def _item(self, observations: Observations, point: Point, seeds: Sequence[int]) -> Item:
        empty = [bool(mask_of(observations, point, seed).collapsed_layers) for seed in seeds]
        return _share(where(observations, [point]), [e == (self.expected == "empty") for e in empty])

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        layers = "some layer is" if self.expected == "empty" else "no layer is"
        return f"{layers} empty in {points_text(protocol, self.of)}"


@RULES.register("first-empty")
class FirstEmpty(_ShareOfSeeds):
    """Where layers first empty as compression grows, they are all among `layers`, in more than half of the seeds."""

    rule: Literal["first-empty"]
    layers: tuple[str, ...] = Field(min_length=1)

    def items(self, observations: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
        """The share of seeds in which it is so."""
        among = []
        for seed in seeds:
            empty = [mask_of(observations, point, seed).collapsed_layers for point in sorted(self.of.cells)]
            first = next((layers for layers in empty if layers), ())
            among.append(bool(first) and set(first) <= set(self.layers))
        return (_share(where(observations, self.of.cells), among),)

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        return f"the first layers to empty in {points_text(protocol, self.of)} are among {', '.join(self.layers)}"


def _share(where: str, values: Sequence[bool]) -> Item:
    """Share of seeds in which something holds: more than a half of all there could be."""
    return ShareItem(where, statistics.estimate([float(value) for value in values], resolution=1.0), 0.5, math.inf)


@RULES.register("collapse")
class Collapse(OfPublishedLayers):
    """The critical compression is that of the published runs: the largest level named at which no layer is empty.

    `table`: by name, a table of densities by layer; `published`: its method. The margin is the larger of the round
    margin and the multiple of the published runs' standard deviation.
    """

    rule: Literal["collapse"]
    metric: Literal["empty-layers"] = "empty-layers"

    @property
    def scale(self) -> Scale:
        """Exponents of 10 of the compression."""
        return "decades"

    def items(self, observations: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
        """Measured against the published runs, by Welch's test.

        Where the published runs' deviation makes the margin, three runs estimate that, and the error level does not
        hold on the edge: 11 to 15 % of simulated worlds come out `reproduced`, as with `accuracy_margin`.
        """
        protocol = observations.protocol
        levels = listed(self.of.levels)
        axis = [axis_value(protocol, level) for level in levels]
        measured = [critical_compression(axis, self._empty(observations, levels, seed)) for seed in seeds]
        tables = [published_layers(protocol, self.table, self.published, level) for level in levels]
        runs = range(len(tables[0][0]))
        published_runs = [
            critical_compression(axis, [any(layer[run] == 0 for layer in table) for table in tables]) for run in runs
        ]
        step = level_step(protocol)
        published = statistics.estimate(published_runs, step)
        margins = protocol.statistics.margins
        margin = max(margins.density_rounds * step, (margins.seed_sd_multiple or 0.0) * stdev(published_runs))
        here = statistics.estimate(measured, step)
        gap = statistics.difference(here, published)
        return (Item(f"published mean {published.mean:.2f}", gap, -margin, margin, published.se, here.mean),)

    def _empty(self, observations: Observations, levels: Sequence[int], seed: int) -> list[bool]:
        """Whether some layer is empty, level by level."""
        masks = [mask_of(observations, (self.of.method, level), seed) for level in levels]
        return [bool(mask.collapsed_layers) for mask in masks]

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        spread = f"{protocol.statistics.margins.seed_sd_multiple:g} sd of the published runs"
        window = f"one step of the grid, or {spread} if that is more"
        points = points_text(protocol, self.of)
        return f"the largest compression without an empty layer, of {points}, is the published one, within {window}"


def critical_compression(compressions: Sequence[float], empty: Sequence[bool]) -> float:
    """The largest compression, as exponent of 10, at which no layer is empty; 0 (the dense network) if none is."""
    return max((c for c, is_empty in zip(compressions, empty, strict=True) if not is_empty), default=0.0)
