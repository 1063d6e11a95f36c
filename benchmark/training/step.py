"""One update, and what it changes: the same function on a CPU, on CUDA, and where a CUDA graph captures it.

An update is forward, backward, masked gradients, one step of the optimizer, on one network (`Single`) or on a stack of
them (`Stack`). It reads no host value that changes and no random generator: the batch, the learning rate and the words
that dropout follows from come from tables on the device, by a counter that lies there too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from benchmark.networks.layers import dropouts, give_words
from benchmark.training.batches import Tables
from benchmark.training.device import arithmetic
from benchmark.training.extra import ExtraParameters
from benchmark.training.fused.layers import fuse
from benchmark.training.optim import parameters_of, updating
from benchmark.training.stacked_layers import stackable

Tensors = dict[str, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
"""() mean loss of outputs (n, ...) and labels (n, ...)."""


class Trained(Protocol):
    """What an update changes: one network, or a stack of them."""

    loss: Loss

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """Leaves; of a stack, with an axis of replicas in front."""
        ...

    def losses(self, inputs: Tensor, labels: Tensor, words: Tensor) -> Tensor:
        """Mean loss on a batch, in training mode: () or (replicas,). `words`: what dropped units follow from."""
        ...


class Single:
    """One network. See `Trained`."""

    def __init__(self, module: nn.Module, precision: str, loss: Loss) -> None:
        self.module, self.precision, self.loss = module, precision, loss
        self.parameters: Mapping[str, Tensor] = dict(module.named_parameters())
        self._dropouts = dropouts(module)
        self._device = next(iter(self.parameters.values())).device.type

    def losses(self, inputs: Tensor, labels: Tensor, words: Tensor) -> Tensor:
        """See `Trained`."""
        give_words(self._dropouts, words)
        with arithmetic(self.precision, self._device):
            outputs = self.module(inputs)
        give_words(self._dropouts, None)
        return self.loss(outputs, labels)

    def adopt(self, module: nn.Module) -> None:
        """Train another module from here on, from its own values. Its parameters have the same names and shapes; they
        become the very tensors that the optimizer updates."""
        module.to(self._device).train()
        with torch.no_grad():
            for name, parameter in list(module.named_parameters()):
                self.parameters[name].copy_(parameter)
                owner, _, leaf = name.rpartition(".")
                setattr(module.get_submodule(owner), leaf, self.parameters[name])
        self.module, self._dropouts = module, dropouts(module)


class Stack:
    """Networks of one architecture as one: every parameter and buffer has an axis of replicas in front. See `Trained`.

    torch.func.vmap and the layers of `stacked_layers` make one kernel for all replicas of each layer: batched matrix
    products of linear layers, grouped convolutions, batch norm over the channels of all. `module` is the architecture,
    which the stack takes over; its values are never used. `fused`: with batch norm and ReLU as one operation.
    """

    def __init__(
        self,
        module: nn.Module,
        states: Sequence[Mapping[str, Tensor]],
        precision: str,
        device: str,
        loss: Loss,
        fused: bool = False,
    ) -> None:
        own = dict(module.named_parameters())
        self.module = fuse(stackable(module)) if fused else stackable(module)
        self.precision, self.count, self.loss = precision, len(states), loss
        stacked = {name: torch.stack([state[name] for state in states]).to(device) for name in states[0]}
        self.parameters = {name: stacked[name].requires_grad_() for name in own}
        self.buffers = {name: tensor for name, tensor in stacked.items() if name not in own}
        self._dropouts, self._device = dropouts(module), device

    def losses(self, inputs: Tensor, labels: Tensor, words: Tensor) -> Tensor:
        """(replicas,) mean losses on batches (replicas, n, ...), labels (replicas, n), in training mode.

        Running statistics of batch norm are updated in place, each replica's by its own batch.
        """
        self.module.train()
        losses: Tensor = vmap(self._loss)(dict(self.parameters), self.buffers, inputs, labels, words)
        return losses

    def outputs(self, inputs: Tensor, own: bool) -> Tensor:
        """(replicas, n, ...) in evaluation mode; `own`: inputs (replicas, n, ...), else (n, ...) for all."""
        self.module.eval()
        forward = vmap(self._forward, in_dims=(0, 0, 0 if own else None))
        outputs: Tensor = forward(dict(self.parameters), self.buffers, inputs)
        return outputs

    def state(self, number: int) -> Tensors:
        """Every parameter and buffer of one replica, copied."""
        return {name: t[number].detach().clone() for name, t in {**self.parameters, **self.buffers}.items()}

    def load(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Copy in every parameter and buffer of every replica."""
        with torch.no_grad():
            for name, tensor in {**self.parameters, **self.buffers}.items():
                tensor.copy_(torch.stack([state[name] for state in states]))

    def _forward(self, parameters: Tensors, buffers: Tensors, inputs: Tensor) -> Tensor:
        outputs: Tensor = functional_call(self.module, (parameters, buffers), (inputs,))
        return outputs

    def _loss(self, parameters: Tensors, buffers: Tensors, inputs: Tensor, labels: Tensor, words: Tensor) -> Tensor:
        give_words(self._dropouts, words)
        with arithmetic(self.precision, self._device):
            outputs = self._forward(parameters, buffers, inputs)
        give_words(self._dropouts, None)
        return self.loss(outputs, labels)


class Step:
    """Updates a network, or a stack, by the batch that the tables' counter points at.

    `rates`: (updates,) learning rates. `masks`: boolean, per prunable tensor, shaped as the parameters. `moving`:
    whether masks may change later on (see `move_masks`); without that, masks of ones are left out.
    """

    def __init__(
        self,
        trained: Trained,
        tables: Tables,
        optimizer: torch.optim.Optimizer,
        rates: Tensor,
        masks: Mapping[str, Tensor],
        moving: bool = False,
    ) -> None:
        self.trained, self.tables, self.optimizer, self.rates = trained, tables, optimizer, rates
        self._update = updating(optimizer)
        # A mask of ones changes nothing: skip the multiplication.
        own = trained.parameters  # a mask is laid out in memory as its parameter, and so as the gradient
        self._masks = {n: torch.zeros_like(own[n], requires_grad=False).copy_(m)
                       for n, m in masks.items() if moving or not bool(m.all())}  # fmt: skip
        self._frozen: list[tuple[Tensor, Tensor]] = []

    def __call__(self, size: int) -> None:
        """One update on a batch of `size` examples. No host value that changes, no generator: it can be captured."""
        tables = self.tables
        for group in self.optimizer.param_groups:
            group["lr"].copy_(self.rates.index_select(0, tables.counter).squeeze(0))
        inputs, labels = tables.batch(size)
        loss = self.trained.losses(inputs, labels, tables.dropout_words())
        loss.sum().backward()  # type: ignore[no-untyped-call]
        # Zero gradients keep pruned weights and their optimizer state exactly zero, weight decay included.
        if self._masks:
            masked = [self.trained.parameters[name] for name in self._masks]
            gradients = [parameter.grad for parameter in masked if parameter.grad is not None]
            torch._foreach_mul_(gradients, [*self._masks.values()])
        if self._frozen:
            self._update_all_but_frozen()
        else:
            self._update()
        for parameter in parameters_of(self.optimizer):
            parameter.grad = None
        tables.counter.add_(1)

    @cached_property
    def extra(self) -> ExtraParameters:
        """What hooks have it train beside the network; most trainings never ask."""
        return ExtraParameters(self.optimizer, self.trained.parameters)

    def move_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Other masks from here on: what they leave out becomes exactly zero, with the optimizer's memory of it."""
        with torch.no_grad():
            for name, mask in masks.items():
                self._masks[name].copy_(mask)
                for tensor in self._values(self.trained.parameters[name]).values():
                    tensor.masked_fill_(~mask, 0.0)

    def freeze(self, frozen: Mapping[str, Tensor]) -> None:
        """Hold these entries (boolean, by parameter, shaped as it): neither they nor their optimizer state change."""
        self._frozen = [(self.trained.parameters[name], where) for name, where in frozen.items() if bool(where.any())]

    def optimizer_state(self, number: int) -> dict[str, tuple[Tensor, bool]]:
        """What the optimizer remembers of its parameter `number`: tensors, and whether they are shaped as it is."""
        parameter = list(self.trained.parameters.values())[number]
        state = self.optimizer.state.get(parameter, {})
        return {n: (t, t.shape == parameter.shape) for n, t in state.items() if isinstance(t, Tensor)}

    def _values(self, parameter: Tensor) -> Tensors:
        """A parameter and all of the optimizer's memory that has its shape."""
        state = self.optimizer.state.get(parameter, {}).items()
        own = {name: t for name, t in state if isinstance(t, Tensor) and t.shape == parameter.shape}
        return {"": parameter, **own}

    def _update_all_but_frozen(self) -> None:
        before = [{name: t.detach().clone() for name, t in self._values(p).items()} for p, _ in self._frozen]
        self._update()
        with torch.no_grad():
            for (parameter, where), values in zip(self._frozen, before, strict=True):
                for name, tensor in self._values(parameter).items():
                    old = values.get(name)  # none: the optimizer has made it in this update
                    tensor.copy_(torch.where(where, torch.zeros_like(tensor) if old is None else old, tensor))


class Stepped(Protocol):
    """What makes one replica's updates, or one stack's, from the batches of its tables."""

    tables: Tables


class Updates(Protocol):
    """A way to run the updates of several step functions side by side, at most `stride` of them at a time."""

    stride: int

    def __call__(self, first: int, last: int) -> None:
        """Updates `first` to `last` - 1 of every step function."""
        ...

    def changed(self) -> None:
        """What an update does is another from here on: a network, a loss, what is frozen. Masks move in place."""
        ...


class Eager:
    """Updates run one after another, as Python calls them; each of them ends at a safe point. See `Updates`."""

    stride = 1

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps

    def __call__(self, first: int, last: int) -> None:
        """See `Updates`."""
        for number in range(first, last):
            for step in self._steps:
                step.tables.open(number)
                step(step.tables.size(number))

    def changed(self) -> None:
        """Nothing was captured."""
