"""Groups whose replicas are networks with updates of their own: what each replica gives, and the group made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

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
