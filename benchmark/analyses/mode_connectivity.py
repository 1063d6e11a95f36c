"""Error barriers on the straight line between the networks of successive levels of one iterative chain.

Frankle et al. 2020 (arXiv 1912.05671) call two networks linearly connected if no point of the line between their
weights is worse than the ends; Paul et al. 2023 (arXiv 2210.03044) ask it of successive levels of iterative magnitude
pruning.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import ClassVar

import torch
from torch import nn

from benchmark.analyses.analysis import ANALYSES, Analysis
from benchmark.datasets.dataset import Dataset
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell, is_chain
from benchmark.tasks import Task, load_task

CHUNK = 4096  # examples evaluated at once


@ANALYSES.register("mode-connectivity")
class ModeConnectivity(Analysis):
    """Height of the barrier between level L - 1 and level L of every chain, in each metric of the task.

    height = max over the line of (value - mean of the ends' values), for metrics where lower is better; where higher
    is better, the sign is turned. The ends are points of the line, so it is at least half the ends' difference.

    `task`: by whose metrics; `steps`: parts the line is cut into, both ends included as points.
    """

    paper = "Frankle et al. 2020, Linear Mode Connectivity and the Lottery Ticket Hypothesis, arXiv 1912.05671"
    units: ClassVar[Mapping[str, str]] = {"loss_barrier": "nats", "accuracy_barrier": "percent"}

    def __init__(self, task: str = "classification", steps: int = 10) -> None:
        self.task: Task = load_task(task)
        self.steps = steps

    def needs(self, protocol: Protocol) -> tuple[Cell, ...]:
        """The dense networks and every level of the chains; none with batch norm, whose statistics fit no point between
        the ends."""
        if not protocol.trains or protocol.network.has_batch_norm:
            return ()
        chains = [name for name in protocol.methods if is_chain(protocol, name)]
        levels = [(name, level.index) for name in chains for level in protocol.level_table[1:]]
        ends = [(DENSE, 0), *levels] if levels else []
        return tuple(Cell(name, level, seed) for seed in protocol.seeds for name, level in ends)

    def measure(self, networks: Mapping[Cell, nn.Module], data: Dataset) -> dict[str, float]:
        """`<metric>_barrier/<method>/level-<L>/seed-<s>`: every level that is given with the one before."""
        barriers: dict[str, float] = {}
        for cell, network in networks.items():
            before = Cell(cell.method if cell.level > 1 else DENSE, cell.level - 1, cell.seed)
            if cell.level > 0 and before in networks:
                for metric, height in self.barrier(networks[before], network, data).items():
                    barriers[f"{metric}_barrier/{cell.method}/level-{cell.level:02d}/seed-{cell.seed}"] = height
        return barriers

    def barrier(self, one: nn.Module, other: nn.Module, data: Dataset) -> dict[str, float]:
        """The barrier's height on the test set between two networks of one architecture, by metric."""
        first, last = one.state_dict(), other.state_dict()
        moving, values = deepcopy(one).eval(), []
        for step in range(self.steps + 1):
            share = step / self.steps
            moving.load_state_dict({name: torch.lerp(first[name], last[name], share) for name in first})
            values.append(self._test_metrics(moving, data))
        heights = {}
        for spec in self.task.declared:
            sign = 1.0 if spec.better == "lower" else -1.0
            line = [sign * point[spec.name] for point in values]
            heights[spec.name] = max(line) - (line[0] + line[-1]) / 2
        return heights

    @torch.no_grad()
    def _test_metrics(self, network: nn.Module, data: Dataset) -> dict[str, float]:
        """Means over the test set, summed up in float64."""
        sums = dict.fromkeys((spec.name for spec in self.task.declared), 0.0)
        for inputs, labels in zip(
            torch.split(data.test_inputs, CHUNK), torch.split(data.test_labels, CHUNK), strict=True
        ):
            for name, value in self.task.metrics(network(data.prepare(inputs)), labels).items():
                sums[name] += float(value)
        return {name: total / len(data.test_labels) for name, total in sums.items()}
