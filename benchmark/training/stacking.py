"""Networks of one architecture as one network: every parameter and buffer has an axis of replicas in front.

torch.func.vmap turns each layer into one kernel for all replicas: linear layers into batched matrix products,
convolutions into grouped convolutions, batch norm into batch norm over stacked channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import cross_entropy

from benchmark.networks.layers import dropouts, give_words
from benchmark.training.precision import arithmetic

Tensors = dict[str, Tensor]


class Stack:
    """See `Trained` in `step`. `module`: the architecture; its own values are never used."""

    def __init__(self, module: nn.Module, states: Sequence[Mapping[str, Tensor]], precision: str, device: str) -> None:
        self.module, self.precision, self.count = module, precision, len(states)
        own = dict(module.named_parameters())
        stacked = {name: torch.stack([state[name] for state in states]).to(device) for name in states[0]}
        self.parameters = {name: stacked[name].requires_grad_() for name in own}
        self.buffers = {name: tensor for name, tensor in stacked.items() if name not in own}
        self._dropouts, self._device = dropouts(module), device

    def losses(self, inputs: Tensor, labels: Tensor, words: Tensor) -> Tensor:
        """(replicas,) mean losses on batches (replicas, n, ...), labels (replicas, n), in training mode.

        Running statistics of batch norm are updated in place, each replica's by its own batch.
        """
        self.module.train()
        found: Tensor = vmap(self._loss)(dict(self.parameters), self.buffers, inputs, labels, words)
        return found

    def logits(self, inputs: Tensor, own: bool) -> Tensor:
        """(replicas, n, classes) in evaluation mode; `own`: inputs (replicas, n, ...), else (n, ...) for all."""
        self.module.eval()
        forward = vmap(self._forward, in_dims=(0, 0, 0 if own else None))
        found: Tensor = forward(dict(self.parameters), self.buffers, inputs)
        return found

    def state(self, number: int) -> Tensors:
        """Every parameter and buffer of one replica, copied."""
        return {name: t[number].detach().clone() for name, t in {**self.parameters, **self.buffers}.items()}

    def _forward(self, parameters: Tensors, buffers: Tensors, inputs: Tensor) -> Tensor:
        found: Tensor = functional_call(self.module, (parameters, buffers), (inputs,))
        return found

    def _loss(self, parameters: Tensors, buffers: Tensors, inputs: Tensor, labels: Tensor, words: Tensor) -> Tensor:
        give_words(self._dropouts, words)
        with arithmetic(self.precision, self._device):
            logits = self._forward(parameters, buffers, inputs)
        give_words(self._dropouts, None)
        return cross_entropy(logits.float(), labels)
