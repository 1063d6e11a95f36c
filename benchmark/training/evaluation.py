"""Loss and accuracy of a network, and the history of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

CHUNK = 1000  # examples a forward pass; fastest of 500, 1000 and 5000 for LeNet-300-100 on one core


@dataclass(frozen=True)
class Quality:
    """Mean cross-entropy (nats) and accuracy (percent) on one set of examples."""

    loss: float
    accuracy_percent: float


@dataclass(frozen=True)
class History:
    """What evaluations saw. `validation` has one entry per evaluation, or none without a validation set."""

    steps: tuple[int, ...]
    validation: tuple[Quality, ...]
    test_steps: tuple[int, ...]
    test: tuple[Quality, ...]

    def early_stop(self) -> tuple[int, Quality, Quality] | None:
        """(updates, validation, test) at the least validation loss, the first of equals; None without validation."""
        if not self.validation:
            return None
        best = min(range(len(self.validation)), key=lambda i: self.validation[i].loss)
        step = self.steps[best]
        return step, self.validation[best], self.test[self.test_steps.index(step)]


@torch.no_grad()
def evaluate(forward: Callable[[Tensor], Tensor], inputs: Tensor, labels: Tensor) -> Quality:
    """Loss and accuracy over `inputs` (n, ...), `labels` (n,), in chunks of fixed size."""
    loss, correct = 0.0, 0
    for start in range(0, len(inputs), CHUNK):
        logits, wanted = forward(inputs[start : start + CHUNK]), labels[start : start + CHUNK]
        loss += float(cross_entropy(logits, wanted, reduction="sum"))
        correct += int((logits.argmax(1) == wanted).sum())
    return Quality(loss / len(inputs), 100.0 * correct / len(inputs))
