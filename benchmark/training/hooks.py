"""Hooks: what acts at stated steps of a training, and what it may change there.

Methods whose mask moves (SET, RigL, iterative hard thresholding), that freeze units (NEq), that change the network or
the loss for a while (ToST) or gather statistics (BINGO) are hooks. Between two steps at which one acts, an update is a
pure function of tensors on the device, so it can be captured as a CUDA graph.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from benchmark.protocols.recipe import Recipe


@dataclass
class Run:
    """One replica at a step, as a hook sees it. What is assigned or changed in place holds from the next update on.

    `network`: the module with the replica's weights; they may be changed in place, or the module be replaced by one
    whose parameters have the same names and shapes. `masks`: boolean, per prunable tensor; a weight that leaves its
    mask becomes exactly zero with the optimizer's memory of it, one that enters starts at zero. `frozen`: boolean, by
    parameter; those entries and their optimizer state stay as they are. `loss`: () mean loss of outputs (n, ...) and
    labels (n, ...). `batch()`: inputs (n, ...) and labels of the next update, ready for the network. `rng(purpose)`:
    the replica's own random generator for this step.
    """

    network: nn.Module
    masks: dict[str, Tensor]
    frozen: dict[str, Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    batch: Callable[[], tuple[Tensor, Tensor]]
    rng: Callable[[str], torch.Generator]


class Hook(ABC):
    """Acts on one replica. Every replica of a training has hooks of its own, so one may remember what it met.

    At a step it acts before the network is evaluated, stored for rewinding or saved in a checkpoint there.
    """

    @abstractmethod
    def when(self, recipe: Recipe, updates_per_epoch: int) -> Iterable[int]:
        """The steps at which it acts, as numbers of updates done; those outside the training are left out."""

    @abstractmethod
    def at(self, step: int, run: Run) -> None:
        """Act after `step` updates."""

    def state(self) -> Mapping[str, Tensor]:
        """What a checkpoint has to hold beside weights, masks, frozen entries and optimizer state; nothing at first."""
        return {}

    def resume(self, state: Mapping[str, Tensor], run: Run) -> None:  # noqa: B027 - most hooks remember nothing
        """Go on from `state` in a new process. Whoever has changed `run.network` or `run.loss` changes it again here;
        weights, masks and frozen entries are those of the checkpoint already."""


Hooks = Callable[[int], Iterable[Hook]]
"""New hooks for the replica of that number, once for each attempt to train it."""
