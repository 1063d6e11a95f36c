"""Regression of k sigmoid outputs on the one-hot class, with the error signal of SET's released code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from benchmark.tasks.task import TASKS, MetricSpec, Task

if TYPE_CHECKING:
    from torch import Tensor


@TASKS.register("one-hot-regression")
class OneHotRegression(Task):
    """Mean squared error of a = sigmoid(outputs) against the one-hot label; accuracy in percent, by the largest output.

    Training does not descend that error: the error signal at the outputs is (a - y) s(a) (1 - s(a)), s the sigmoid,
    as in `MSE.delta` of the authors' tutorial (github dcmocanu/sparse-evolutionary-artificial-neural-networks,
    Tutorial-IJCAI-2019-Scalable-Deep-Learning/set_mlp.py), which takes the derivative at a and not at the outputs.
    Its factor lies in [0.197, 0.25] however saturated a unit is.

    `outputs`: (n, k), before the sigmoid; `labels`: (n,) int64 class numbers.
    """

    declared = (
        MetricSpec("loss", "squared error", "lower", "loss"),
        MetricSpec("accuracy", "percent", "higher", "accuracy_percent"),
    )
    early_stop = "loss"

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """() the mean squared error over examples and outputs, with the gradient above: its mean over examples."""
        from torch.nn.functional import one_hot

        z = outputs.float()
        a = z.sigmoid().detach()
        error = a - one_hot(labels, z.shape[-1])
        factor = a.sigmoid() * (1 - a.sigmoid())
        lead = (error * factor * z).sum(-1).mean()
        return (error**2).mean() + lead - lead.detach()

    def metrics(self, outputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Sums of the squared error, a mean over outputs, and of 100 for each right answer; of equal outputs the first
        one counts."""
        from torch.nn.functional import one_hot

        z = outputs.float()
        error = z.sigmoid() - one_hot(labels, z.shape[-1])
        # Of outputs, not of their sigmoids: these are equal where float32 cannot tell them from 1.
        right = (z.argmax(-1) == labels).sum(-1)
        return {"loss": (error**2).mean(-1).sum(-1), "accuracy": 100 * right}
