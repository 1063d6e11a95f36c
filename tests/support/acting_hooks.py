"""Hooks that keep what they see, for tests of trainings by torch and by the kernels; and a training that is stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from benchmark.api import Hook, Recipe, Run


class Stop(Exception):
    """In the place of a signal."""


def stop_at(step: int) -> Callable[..., None]:
    """A listener to progress that raises Stop after so many updates."""

    def listen(_number: int, done: int, *_: object) -> None:
        if done == step:
            raise Stop

    return listen


class Acting(Hook):
    """Acts at some steps; keeps what the network was there. `told`: the batch size and updates of an epoch."""

    told: ClassVar[tuple[int, int]]

    def __init__(self, *steps: int) -> None:
        self.steps, self.met = steps, dict[int, dict[str, Tensor]]()

    def when(self, recipe: Recipe, updates_per_epoch: int) -> Iterable[int]:
        assert (recipe.batch_size, updates_per_epoch) == self.told
        return self.steps

    def at(self, step: int, run: Run) -> None:
        self.met[step] = {name: value.detach().clone() for name, value in run.network.state_dict().items()}
        self.change(step, run)

    def change(self, step: int, run: Run) -> None:
        """Nothing."""


class Moving(Acting):
    """Drops the smallest weights of a layer and lets as many random ones grow; counts its moves.

    `layer`: the name of its weight; `count(kept)`: how many move.
    """

    layer: ClassVar[str]
    moves = 0

    def count(self, kept: int) -> int:
        """A tenth."""
        return kept // 10

    def change(self, step: int, run: Run) -> None:  # noqa: ARG002
        self.moves += 1
        weight, mask = run.network.get_parameter(self.layer).detach().flatten(), run.masks[self.layer].flatten().clone()
        count = self.count(int(mask.sum()))
        alive, dead = mask.nonzero().flatten(), (~mask).nonzero().flatten()
        mask[alive[weight[alive].abs().argsort(stable=True)[:count]]] = False
        mask[dead[torch.randperm(len(dead), generator=run.rng("grow"))[:count]]] = True
        run.masks[self.layer] = mask.reshape(run.masks[self.layer].shape)

    def state(self) -> Mapping[str, Tensor]:
        return {"moves": torch.tensor([self.moves])}

    def resume(self, state: Mapping[str, Tensor], run: Run) -> None:  # noqa: ARG002
        self.moves = int(state["moves"][0])
