"""Classification: one of k classes for each example; the network's k outputs are logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from benchmark.tasks.task import TASKS, MetricSpec, Task

if TYPE_CHECKING:
    from torch import Tensor


@TASKS.register("classification")
class Classification(Task):
    """Cross-entropy of the softmax, in float32; accuracy in percent. Early stop: least validation loss.

    `outputs`: (n, k) logits; `labels`: (n,) int64 class numbers.
    """

    declared = (
        MetricSpec("loss", "nats", "lower", "loss"),
        MetricSpec("accuracy", "percent", "higher", "accuracy_percent"),
    )
    early_stop = "loss"

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy, nats."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs.float(), labels)

    def metrics(self, outputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Sums of the cross-entropy (nats) and of 100 for each right answer; of equal logits the first one counts."""
        from torch.nn.functional import cross_entropy

        right = (outputs.argmax(-1) == labels).sum(-1)
        return {"loss": cross_entropy(outputs.float(), labels, reduction="sum"), "accuracy": 100 * right}
