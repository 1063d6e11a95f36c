"""Loss and accuracy of a network, and the history of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vmap

from benchmark.protocols.recipe import EvaluationSpec
from benchmark.tasks import Task
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
def measure(
    forward: Callable[[Tensor], Tensor],
    inputs: Tensor,
    labels: Tensor,
    task: Task,
    prepare: Callable[[Tensor], Tensor] = lambda stored: stored,
    precision: str = "fp32",
    chunk: int | None = None,
    stacked: bool = False,
) -> Tensor:
    """The task's metrics, as declared, over stored `inputs` (n, ...) and `labels` (n, ...), in chunks of fixed size.

    `prepare` turns stored examples into what the network reads. Gives (metrics,) means in float64, left on the device:
    reading them there would make the host wait. `stacked`: outputs have an axis of replicas in front, which gives
    (replicas, metrics); each replica may have examples of its own, `inputs` (replicas, n, ...) with `labels`
    (replicas, n).
    """
    totals = torch.zeros(len(task.declared), dtype=torch.float64, device=labels.device)
    own = stacked and labels.dim() == 2
    count = labels.shape[1] if own else len(labels)
    sums = vmap(task.metrics, in_dims=(0, 0 if own else None)) if stacked else task.metrics
    chunk = chunk or (IMAGE_CHUNK if inputs.dim() == 4 else CHUNK)
    for start in range(0, count, chunk):
        part = slice(start, start + chunk)
        with arithmetic(precision, labels.device.type):
            outputs = forward(prepare(inputs[:, part] if own else inputs[part])).float()
        found = sums(outputs, labels[:, part] if own else labels[part])
        totals = totals + torch.stack([found[spec.name].double() for spec in task.declared], -1)
    return totals / count


def evaluate(
    forward: Callable[[Tensor], Tensor],
    inputs: Tensor,
    labels: Tensor,
    task: Task,
    prepare: Callable[[Tensor], Tensor] = lambda stored: stored,
    precision: str = "fp32",
) -> Quality:
    """`measure` for one network, as numbers of the host."""
    return Quality(*measure(forward, inputs, labels, task, prepare, precision).tolist())


@dataclass(frozen=True)
class Looks:
    """When a training looks at its networks: numbers of updates done."""

    wanted: frozenset[int]
    always_tested: frozenset[int]
    at_minima: bool

    @staticmethod
    def of(evaluation: EvaluationSpec, first_step: int, last_step: int) -> Looks:
        """A protocol's evaluations; a fine-tuning too short for one of its own is looked at once, at its end."""
        wanted = frozenset(evaluation.steps(last_step))
        tested = frozenset(evaluation.test_steps(last_step))
        if max(wanted) < first_step:
            wanted = tested = frozenset({last_step})
        return Looks(wanted, tested, evaluation.test_at_validation_minima)
