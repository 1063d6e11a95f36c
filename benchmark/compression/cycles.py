"""A model of the cycles that a machine of two stages takes for one example. A MODEL: nothing here was measured.

"Basis first": an array of multipliers convolves the input with the basis kernels, a second one of lanes adds up what
the coefficients select, while the first is already at the next tile. A lane works on one output channel and adds one
coefficient a cycle; lanes of a group of channels wait for the slowest. Memory never makes anybody wait, tiles are small
against the layer, and nothing is known of ESCALATE's own simulator (Li et al., MICRO 2021: abstract read only), so its
cycle counts cannot be compared with these.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmark.compression.interface import LayerCost


@dataclass(frozen=True)
class Machine:
    """`multipliers` of the first stage, `lanes` of the second."""

    multipliers: int
    lanes: int

    def __post_init__(self) -> None:
        if self.multipliers < 1 or self.lanes < 1:
            raise ValueError(f"{self.multipliers} multipliers, {self.lanes} lanes: both have to be above 0")

    def stages(self, layer: LayerCost) -> tuple[int, int]:
        """Cycles that each stage takes for one layer; scales are applied by the first stage's multipliers."""
        work = layer.work
        first = -(-layer.positions * (work.first + work.scales) // self.multipliers)
        groups = [work.second[at : at + self.lanes] for at in range(0, len(work.second), self.lanes)]
        return first, layer.positions * sum(max(group) for group in groups)

    def cycles(self, layers: Iterable[LayerCost]) -> int:
        """For one example: each layer takes as long as its slower stage."""
        return sum(max(self.stages(layer)) for layer in layers)

    def dense_cycles(self, multiply_adds: int) -> int:
        """Of the dense network on as many units of one kind, all of them busy all the time."""
        return -(-multiply_adds // (self.multipliers + self.lanes))
