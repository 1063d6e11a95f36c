"""What goes into the replica engine and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from benchmark.datasets import Split
from benchmark.training.evaluation import History, Quality


@dataclass(frozen=True)
class Replica:
    """One network to train.

    `start`: every parameter and buffer, at update `first_step`; `masks`: boolean, per prunable tensor; `snapshots`:
    numbers of updates after which the weights are wanted too (for rewinding).
    """

    seed: int
    start: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    split: Split
    last_step: int
    first_step: int = 0
    snapshots: tuple[int, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What training one replica gave. `failure` says why it was given up, if it was.

    `seconds` is the replica's share where several were trained side by side; `company` says how they were, and is
    None for a replica trained by itself.
    """

    weights: dict[str, Tensor]
    history: History
    train: Quality | None
    steps: int
    examples: int
    seconds: float
    cpu_seconds: float
    snapshots: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    failure: str | None = None
    company: str | None = None


def masked_start(replica: Replica) -> dict[str, Tensor]:
    """A replica's first weights: pruned ones zero."""
    return {n: t * replica.masks[n] if n in replica.masks else t for n, t in replica.start.items()}


def diverged(updates: int) -> str:
    """The failure of a replica whose loss is not finite."""
    return f"diverged: the loss is not finite after {updates} updates"
