"""Groups whose replicas are networks with updates of their own: what each replica gives, and the group made of it.

A replica with a network of its own may leave out input features that no kept weight reads (`Columns`). At 3.6 % density
a LeNet ticket reads about half of MNIST's pixels. A column of the first weight matrix whose mask is empty adds exact
zeros to every pre-activation and receives no update, so the smaller network is the same network, and its steps are
cheaper. Sums are taken in another order, so the last bit may differ from the full network's; whether a replica is
compacted depends on its own mask alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from benchmark.datasets.dataset import Dataset
from benchmark.training.hooks import Run
from benchmark.training.step import Stepped, Tensors


class Separate(Protocol):
    """One replica of a group that shares no kernel. What each gives is its part of a `ReplicaGroup`."""

    @property
    def step(self) -> Stepped:
        """What one update runs."""
        ...

    def test_metrics(self) -> Tensor:
        """(metrics,) on the test set."""
        ...

    def validation_metrics(self) -> Tensor:
        """The same on its validation examples."""
        ...

    def train_metrics(self) -> Tensor:
        """The same on its training examples."""
        ...

    def state(self) -> Tensors:
        """Every parameter and buffer, copied."""
        ...

    def saved(self) -> Tensors:
        """What `restore` takes."""
        ...

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Have it as it was saved."""
        ...

    def run(self, done: int) -> Run:
        """It after `done` updates, for its hooks."""
        ...

    def apply(self, run: Run) -> bool:
        """Go on as hooks have left it; whether a captured update is another one now."""
        ...


Apart = TypeVar("Apart", bound=Separate)


class SeparateReplicas(Generic[Apart]):
    """Each replica a network with an update of its own: on a stream, or one after another. See `ReplicaGroup`."""

    def __init__(self, members: Sequence[Apart]) -> None:
        self._members = members
        self.steps = [member.step for member in members]

    def test_metrics(self) -> Tensor:
        """See `ReplicaGroup`."""
        return torch.stack([member.test_metrics() for member in self._members])

    def validation_metrics(self) -> Tensor:
        """See `ReplicaGroup`."""
        return torch.stack([member.validation_metrics() for member in self._members])

    def train_metrics(self) -> Tensor:
        """See `ReplicaGroup`."""
        return torch.stack([member.train_metrics() for member in self._members])

    def state(self, number: int) -> Tensors:
        """See `ReplicaGroup`."""
        return self._members[number].state()

    def saved(self, number: int) -> Tensors:
        """See `ReplicaGroup`."""
        return self._members[number].saved()

    def restore(self, saved: Sequence[Mapping[str, Tensor]]) -> None:
        """See `ReplicaGroup`."""
        for member, state in zip(self._members, saved, strict=True):
            member.restore(state)

    def runs(self, done: int) -> list[Run]:
        """See `ReplicaGroup`."""
        return [member.run(done) for member in self._members]

    def apply(self, runs: Sequence[Run]) -> bool:
        """See `ReplicaGroup`."""
        changed = [member.apply(run) for member, run in zip(self._members, runs, strict=True)]
        return any(changed)


@dataclass(frozen=True)
class Columns:
    """The input features a replica uses; `used` is None where it uses all of them."""

    weight: str
    used: Tensor | None
    width: int

    @staticmethod
    def of(weight: str, masks: Mapping[str, Tensor]) -> Columns:
        """Columns of matrix `weight` (out, in) in which the mask keeps anything."""
        alive = masks[weight].any(dim=0)
        used = alive.nonzero().flatten()
        # An empty or full selection is left as it is: nothing to gain, and a matrix of width 0 trains nothing.
        return Columns(weight, used if 0 < len(used) < len(alive) else None, len(alive))

    @property
    def count(self) -> int:
        """Input features of the compacted network."""
        return self.width if self.used is None else len(self.used)

    def inputs(self, data: Tensor) -> Tensor:
        """(n, ...) examples with only the used features, (n, count)."""
        return data.flatten(1) if self.used is None else data.flatten(1)[:, self.used]

    def shrink(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state (or masks) for the compacted network."""
        return {n: t[:, self.used] if n == self.weight and self.used is not None else t for n, t in state.items()}

    def restore(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The full network's state, or a part of it; the columns left out are zero, as their masks say."""
        full = {name: tensor.detach().clone() for name, tensor in state.items()}
        if self.used is not None and self.weight in full:
            full[self.weight] = torch.zeros(full[self.weight].shape[0], self.width)
            full[self.weight][:, self.used] = state[self.weight].detach()
        return full


def usable(masks: Mapping[str, Tensor], weight: str, dataset: Dataset) -> bool:
    """Whether compaction applies: the input matrix is prunable and reads the flat input, which is held as floats."""
    floats = dataset.train_inputs.is_floating_point()
    return floats and weight in masks and masks[weight].shape[1] == dataset.train_inputs[0].numel()
