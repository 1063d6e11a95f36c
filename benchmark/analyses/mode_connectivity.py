"""Error barriers on the straight line between the networks of successive levels of one iterative chain.

Frankle et al. 2020 (arXiv 1912.05671) call two networks linearly connected if no point of the line between their
weights is worse than the ends; Paul et al. 2023 (arXiv 2210.03044) ask it of successive levels of iterative magnitude
pruning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from benchmark.analyses.analysis import Analysis, Findings
from benchmark.analyses.line import Curves, barrier, metrics_along, shares
from benchmark.analyses.setting import Setting
from benchmark.datasets.dataset import Dataset
from benchmark.protocols import Protocol
from benchmark.protocols.analysis import ANALYSES
from benchmark.protocols.cells import DENSE, Cell, is_chain
from benchmark.tasks import Task, load_task
from benchmark.utils.errors import BadInput


@ANALYSES.register("mode-connectivity")
class ModeConnectivity(Analysis):
    """Height of the barrier between level L - 1 and level L of a chain on the test set, in each metric of the task.

    The ends are points of the line, so it is at least half the ends' difference. `parts`: equal parts the line is cut
    into, both ends included as points.
    """

    paper = "Frankle et al. 2020, Linear Mode Connectivity and the Lottery Ticket Hypothesis, arXiv 1912.05671"
    units: ClassVar[Mapping[str, str]] = {"loss_barrier": "nats", "accuracy_barrier": "percent"}

    def __init__(self, parts: int = 10) -> None:
        if parts < 1:
            raise ValueError(f"parts is {parts}, below 1")
        self.parts = parts

    def needs(self, protocol: Protocol, cell: Cell) -> tuple[Cell, ...]:
        """The networks of the level and of the one before, which is the dense one at level 1.

        Raises BadInput for a method that is no chain, level 0, and batch norm, whose statistics fit no point between.
        """
        of, thing = protocol.analyses[cell.method].of, f"{protocol.id}: methods.{cell.method}"
        if of is None or not is_chain(protocol.examined, of) or cell.level == 0:
            raise BadInput(thing, "compares levels of an iterative chain", "Name one as of:, and levels from 1")
        if protocol.network.has_batch_norm:
            raise BadInput(thing, "cannot move between batch norm's statistics", "Take a network without")
        before = Cell(of if cell.level > 1 else DENSE, cell.level - 1, cell.seed)
        return before, Cell(of, cell.level, cell.seed)

    def measure(self, setting: Setting) -> Findings:
        """`<metric>_barrier`; curves `test_<metric>` (points,)."""
        before, after = setting.networks.values()
        assert setting.data is not None  # networks were trained on it
        heights, curves = self.between(before, after, setting.data, load_task(setting.protocol.task))
        return Findings(heights, curves)

    def between(self, one: nn.Module, other: nn.Module, data: Dataset, task: Task) -> tuple[dict[str, float], Curves]:
        """(`<metric>_barrier` -> height on the test set, `test_<metric>` -> values along the line)."""
        examples = {"test": (data.test_inputs, data.test_labels)}
        places = shares(self.parts + 1)
        curves = metrics_along(one, other, places.tolist(), data, task, examples)
        heights = {f"{spec.name}_barrier": barrier(curves[f"test_{spec.name}"], spec.better) for spec in task.declared}
        return heights, {"place": places, **curves}
