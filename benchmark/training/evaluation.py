"""Loss and accuracy of a network, and the history of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmark.training.precision import arithmetic

CHUNK = 1000  # examples a forward pass; fastest of 500, 1000 and 5000 for LeNet-300-100 on one core
IMAGE_CHUNK = 250  # images a forward pass: 64 maps of 32x32 for each take 64 MB


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
def evaluate(
    forward: Callable[[Tensor], Tensor],
    inputs: Tensor,
    labels: Tensor,
    prepare: Callable[[Tensor], Tensor] = lambda stored: stored,
    precision: str = "fp32",
) -> Quality:
    """Loss and accuracy over stored `inputs` (n, ...), `labels` (n,), in chunks of fixed size.

    `prepare` turns stored examples into what the network reads.
    """
    loss, correct = 0.0, 0
    chunk = IMAGE_CHUNK if inputs.dim() == 4 else CHUNK
    for start in range(0, len(inputs), chunk):
        with arithmetic(precision):
            logits = forward(prepare(inputs[start : start + chunk])).float()
        wanted = labels[start : start + chunk]
        loss += float(cross_entropy(logits, wanted, reduction="sum"))
        correct += int((logits.argmax(1) == wanted).sum())
    return Quality(loss / len(inputs), 100.0 * correct / len(inputs))
