"""One update: the same function for a CPU, for CUDA, and for what a CUDA graph captures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from benchmark.networks.layers import dropouts, give_words
from benchmark.tasks import Task
from benchmark.training.batches import Tables
from benchmark.training.optim import updating
from benchmark.training.precision import arithmetic


class Trained(Protocol):
    """What an update changes: one network, or a stack of them (see `stacking`)."""

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """Leaves; of a stack, with an axis of replicas in front."""
        ...

    def losses(self, inputs: Tensor, labels: Tensor, words: Tensor) -> Tensor:
        """Mean loss on a batch, in training mode: () or (replicas,). `words`: what dropped units follow from."""
        ...


class Single:
    """One network, and what it learns."""

    def __init__(self, module: nn.Module, precision: str, task: Task) -> None:
        self.module, self.precision, self.task = module, precision, task
        self.parameters: Mapping[str, Tensor] = dict(module.named_parameters())
        self._dropouts = dropouts(module)
        self._device = next(iter(self.parameters.values())).device.type

    def losses(self, inputs: Tensor, labels: Tensor, words: Tensor) -> Tensor:
        """See `Trained`."""
        give_words(self._dropouts, words)
        with arithmetic(self.precision, self._device):
            outputs = self.module(inputs)
        give_words(self._dropouts, None)
        return self.task.loss(outputs, labels)


class Step:
    """Updates a network, or a stack, by the batch that the tables' counter points at.

    `rates`: (updates,) learning rates. `masks`: boolean, per prunable tensor, shaped as the parameters.
    """

    def __init__(
        self,
        trained: Trained,
        tables: Tables,
        optimizer: torch.optim.Optimizer,
        rates: Tensor,
        masks: Mapping[str, Tensor],
    ) -> None:
        self.trained, self.tables, self.optimizer, self.rates = trained, tables, optimizer, rates
        self._update = updating(optimizer)
        # A mask of ones changes nothing: skip the multiplication.
        self.masked = [(trained.parameters[n], m.to(torch.float32)) for n, m in masks.items() if not bool(m.all())]

    def __call__(self, size: int) -> None:
        """One update on a batch of `size` examples. No host value that changes, no generator: it can be captured."""
        tables = self.tables
        for group in self.optimizer.param_groups:
            group["lr"].copy_(self.rates.index_select(0, tables.counter).squeeze(0))
        inputs, labels = tables.batch(size)
        loss = self.trained.losses(inputs, labels, tables.dropout_words())
        loss.sum().backward()  # type: ignore[no-untyped-call]
        # Zero gradients keep pruned weights and their optimizer state exactly zero, weight decay included.
        for parameter, mask in self.masked:
            assert parameter.grad is not None
            parameter.grad.mul_(mask)
        self._update()
        for parameter in self.trained.parameters.values():
            parameter.grad = None
        tables.counter.add_(1)


def eagerly(steps: Sequence[Step], first: int, last: int) -> None:
    """Updates `first` to `last` - 1 of every step function, one after another."""
    for number in range(first, last):
        for step in steps:
            step.tables.open(number)
            step(step.tables.size(number))
