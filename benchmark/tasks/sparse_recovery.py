"""Sparse recovery: the labels are a sparse network's outputs, real numbers, which another network is to reproduce."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from benchmark.tasks.task import TASKS, MetricSpec, Task

if TYPE_CHECKING:
    from torch import Tensor


@TASKS.register("sparse-recovery")
class SparseRecovery(Task):
    """Mean squared error of one output, in float32 or wider. PSNR follows from it and the largest label.

    `outputs`: (n, 1); `labels`: (n,) real numbers. How much of the planted support a network has found is no mean over
    examples: see `benchmark.analyses.recovery.measures`.
    """

    declared = (MetricSpec("loss", "squared error", "lower", "loss"),)
    early_stop = "loss"

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """() mean squared error."""
        return ((_wide(outputs)[..., 0] - labels) ** 2).mean()

    def metrics(self, outputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Sum of the squared errors."""
        return {"loss": ((_wide(outputs)[..., 0] - labels) ** 2).sum(-1)}


def _wide(outputs: Tensor) -> Tensor:
    return outputs if outputs.element_size() >= 4 else outputs.float()
