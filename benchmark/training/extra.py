"""Parameters that hooks bring along, trained with the network's by the same optimizer: one replica's."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmark.training.optim import begin_velocity, under
from benchmark.utils.errors import BadInput

VALUE, MEMORY = "extra.", "memory."
"""How names in a checkpoint begin."""


class ExtraParameters:
    """What an optimizer trains beside `own`, the parameters of the network: none, until a hook brings some.

    A checkpoint holds their values and the optimizer's memory of them. Whoever resumes brings new tensors of the same
    names, which then become what the checkpoint says.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, own: Mapping[str, Tensor]) -> None:
        self.held: dict[str, Tensor] = {}
        self._optimizer, self._own = optimizer, own
        self._stored: dict[str, Tensor] = {}  # of a checkpoint, until somebody brings its tensor

    def train(self, wanted: Mapping[str, Tensor]) -> bool:
        """Train these leaves from the next update on, and no others; whether the set has changed.

        New ones start without momentum, or as the checkpoint has them. Raises BadInput for what is no leaf.
        """
        if list(wanted.items()) == list(self.held.items()):
            return False
        for name, leaf in wanted.items():
            if not (leaf.is_leaf and leaf.requires_grad and leaf.is_floating_point()):
                cause = f"brings '{name}', which is no leaf that requires a gradient"
                raise BadInput("a hook", cause, "Put torch.nn.Parameter into run.extra_parameters")
        for name, leaf in self.held.items():
            if wanted.get(name) is not leaf:
                self._optimizer.state.pop(leaf, None)
        new = [name for name, leaf in wanted.items() if self.held.get(name) is not leaf]
        self.held = dict(wanted)
        self._optimizer.param_groups[0]["params"] = [*self._own.values(), *self.held.values()]
        begin_velocity(self._optimizer, [self.held[name] for name in new])
        for name in new:
            self._take_up(name)
        return True

    def saved(self) -> dict[str, Tensor]:
        """What `restore` takes: values as `extra.<name>`, and `memory.<what the optimizer calls it>.<name>`."""
        found = dict(self._stored)
        for name, leaf in self.held.items():
            found[f"{VALUE}{name}"] = leaf.detach().clone()
            memory = self._optimizer.state.get(leaf, {}).items()
            found |= {f"{MEMORY}{key}.{name}": t.clone() for key, t in memory if isinstance(t, Tensor)}
        return found

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Be as `saved` says, as soon as the tensors are there."""
        self._stored = {name: tensor for name, tensor in saved.items() if name.startswith((VALUE, MEMORY))}
        for name in self.held:
            self._take_up(name)

    def _take_up(self, name: str) -> None:
        leaf, value = self.held[name], self._stored.pop(f"{VALUE}{name}", None)
        if value is None:
            return
        with torch.no_grad():
            leaf.copy_(value)
        for key, tensor in under(MEMORY, self._stored).items():
            moment, _, owner = key.partition(".")
            if owner == name:
                self._optimizer.state[leaf][moment] = tensor.to(leaf.device, copy=True)
        self._stored = {n: t for n, t in self._stored.items() if not (n.startswith(MEMORY) and n.endswith(f".{name}"))}
