"""Layer collapse: masks with empty layers or without a path, which layers empty first, the critical compression.

The masks of protocols that train nothing. The unit of every test is the seed, as for trained networks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import stdev
from typing import Literal

from pydantic import Field

from benchmark.claims import statistics
from benchmark.claims.evidence import Item, Scale, ShareItem
from benchmark.claims.observations import Observations
from benchmark.claims.rules.base import FIX_TARGET, RULES, Rule, RunsRule, TargetTable
from benchmark.claims.rules.cells import Points, listed
from benchmark.claims.rules.layer_density import OfPublishedLayers, level_step, mask_of, published_layers
from benchmark.claims.rules.sampling import where
from benchmark.claims.table_reader import results
from benchmark.claims.tables import Result
from benchmark.claims.wording import points_text
from benchmark.protocols import Protocol
from benchmark.protocols.cells import axis_value
from benchmark.records.schema import MaskFacts

MOST_STEPS = 2
"""Of the grid of compressions, on either side: runs that spread further say too little to tell methods apart."""


class _ShareOfSeeds(Rule):
    """What holds in more than half of the seeds."""

    of: Points

    @property
    def points(self) -> tuple[Points, ...]:
        """The masks named."""
        return (self.of,)

    @property
    def scale(self) -> Scale:
        """Share of the seeds."""
        return "share"


class _AtEveryLevel(_ShareOfSeeds):
    """What holds in more than half of the masks of every level named."""

    def holds(self, mask: MaskFacts) -> bool:
        """Whether it does in one mask."""
        raise NotImplementedError

    def items(self, observations: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
        """The share of seeds in which it does, at each level."""
        return tuple(
            _share(where(observations, [point]), [self.holds(mask_of(observations, point, seed)) for seed in seeds])
            for point in self.of.cells
        )


@RULES.register("emptied")
class Emptied(_AtEveryLevel):
    """At every level named, more than half of the masks have an empty layer, or more than half have none."""

    rule: Literal["emptied"]
    metric: Literal["empty-layers"] = "empty-layers"
    expected: Literal["empty", "whole"]

    def holds(self, mask: MaskFacts) -> bool:
        """Whether some layer is empty, or none is."""
        return bool(mask.collapsed_layers) == (self.expected == "empty")

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        layers = "some layer is" if self.expected == "empty" else "no layer is"
        return f"{layers} empty in {points_text(protocol, self.of)}"


@RULES.register("first-empty")
class FirstEmpty(_ShareOfSeeds):
    """Where layers first empty as compression grows, they are all among `layers`, in more than half of the seeds."""

    rule: Literal["first-empty"]
    metric: Literal["empty-layers"] = "empty-layers"
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


@RULES.register("connected")
class Connected(_AtEveryLevel):
    """At every level named, most masks leave a path from an input to an output, or most leave none.

    `expected`: what the paper says of them.
    """

    rule: Literal["connected"]
    metric: Literal["disconnected"] = "disconnected"
    expected: Literal["connected", "disconnected"] = "connected"

    def holds(self, mask: MaskFacts) -> bool:
        """Whether it is as expected. Records from before it was looked at say neither."""
        return mask.disconnected is (self.expected == "disconnected")

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        left = "a path is left" if self.expected == "connected" else "no path is left"
        return f"{left} from an input to an output in {points_text(protocol, self.of)}"


def _share(where: str, values: Sequence[bool]) -> Item:
    """Share of seeds in which something holds: more than a half of all there could be."""
    return ShareItem(where, statistics.estimate([float(value) for value in values], resolution=1.0), 0.5, math.inf)


@RULES.register("collapse")
class Collapse(OfPublishedLayers):
    """The critical compression is that of the published runs: the largest level named at which no layer is empty.

    `table`: by name, a table of densities by layer; `published`: its method. The margin is the larger of the round
    margin and the multiple of the published runs' standard deviation, of which `MOST_STEPS` steps of the grid count.
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
        return (_critical_item(protocol, measured, published_runs),)

    def _empty(self, observations: Observations, levels: Sequence[int], seed: int) -> list[bool]:
        """Whether some layer is empty, level by level."""
        masks = [mask_of(observations, (self.of.method, level), seed) for level in levels]
        return [bool(mask.collapsed_layers) for mask in masks]

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        points, window = points_text(protocol, self.of), _window_text(protocol)
        return f"the largest compression without an empty layer, of {points}, is the published one, within {window}"


@RULES.register("disconnection")
class Disconnection(RunsRule):
    """Masks leave no path from input to output where the published networks are at exact chance, and only there.

    A network without a path gives every example the same outputs, so that its accuracy on a test set with as many
    examples of each class is `chance` (percent) to the last digit, however long it is trained. Compared are the largest
    compressions, of those named, with a path here and above chance there: by run of `published` in the `setting` of the
    `table`. The margin is that of `collapse`.
    """

    rule: Literal["disconnection"]
    metric: Literal["disconnected"] = "disconnected"
    setting: str
    published: str
    chance: float = Field(gt=0, lt=100)

    @property
    def scale(self) -> Scale:
        """Exponents of 10 of the compression."""
        return "decades"

    def target_misfit(self, target: TargetTable, protocol: Protocol) -> tuple[str, str] | None:
        """The table must hold the same runs of the method at every level named."""
        runs = self._accuracies(target.rows, protocol)
        if min(map(len, runs)) > 1 and len({len(values) for values in runs}) == 1:
            return None
        return f"table '{self.table}' lacks runs of '{self.published}' in setting '{self.setting}'", FIX_TARGET

    def _accuracies(self, rows: Iterable[Result], protocol: Protocol) -> list[tuple[float, ...]]:
        """By level, the runs' accuracies."""
        key = (self.setting, self.published, "percent")
        mine = ((row, row.values) for row in rows if (row.setting, row.method, row.unit) == key)
        found = self.runs_at_levels(protocol, mine)
        return [found.get(level, ()) for level in listed(self.of.levels)]

    def items(self, observations: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
        """Measured against the published runs, by Welch's test."""
        protocol, levels = observations.protocol, listed(self.of.levels)
        axis = [axis_value(protocol, level) for level in levels]
        accuracies = self._accuracies(results(protocol.paper.key, self.table), protocol)
        by_run = [
            [math.isclose(value, self.chance, abs_tol=1e-6) for value in run] for run in zip(*accuracies, strict=True)
        ]
        by_seed = [
            [bool(mask_of(observations, (self.of.method, level), seed).disconnected) for level in levels]
            for seed in seeds
        ]
        item = _critical_item(
            protocol,
            [critical_compression(axis, disconnected) for disconnected in by_seed],
            [critical_compression(axis, at_chance) for at_chance in by_run],
        )
        return (item,)

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        points = points_text(protocol, self.of)
        return (
            f"the largest compression with a path from input to output, of {points}, is the largest at which the "
            f"published runs are above chance ({self.chance:g} %), within {_window_text(protocol)}"
        )


def _critical_item(protocol: Protocol, measured: Sequence[float], published_runs: Sequence[float]) -> Item:
    """Critical compressions of seeds against those of published runs, as exponents of 10."""
    step, margins = level_step(protocol), protocol.statistics.margins
    published = statistics.estimate(published_runs, step)
    spread = (margins.seed_sd_multiple or 0.0) * stdev(published_runs)
    margin = max(margins.density_rounds * step, min(spread, MOST_STEPS * step))
    here = statistics.estimate(measured, step)
    gap = statistics.difference(here, published)
    return Item(f"published mean {published.mean:.2f}", gap, -margin, margin, published.se, here.mean)


def _window_text(protocol: Protocol) -> str:
    spread = f"{protocol.statistics.margins.seed_sd_multiple:g} sd of the published runs"
    return f"one step of the grid, or {spread} if that is more, but not over {MOST_STEPS} steps"


def critical_compression(compressions: Sequence[float], broken: Sequence[bool]) -> float:
    """The largest compression, as exponent of 10, at which a network is whole; 0, the dense one, if it never is."""
    return max((c for c, is_broken in zip(compressions, broken, strict=True) if not is_broken), default=0.0)
