"""Gradual magnitude pruning: Zhu & Gupta, "To prune, or not to prune", 2017, arXiv 1710.01878."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from benchmark.api import Hook, Recipe, Run


class GradualMagnitude(Hook):
    """The network starts dense; every `every` updates the weights of least magnitude go, until the density is reached.

    Sparsity rises as s_t = s (1 - (1 - (t - begin) / (end - begin))^3): the paper's equation 1, from zero. A weight
    that has gone does not come back.
    """

    paper = "Zhu & Gupta 2017, arXiv 1710.01878"

    def __init__(self, begin: int, end: int, every: int = 100) -> None:
        if not 0 <= begin < end or every < 1:
            raise ValueError(f"begin {begin}, end {end}, every {every}: pruning needs some updates between")
        self.begin, self.end, self.every = begin, end, every

    def when(self, recipe: Recipe, updates_per_epoch: int) -> Iterable[int]:  # noqa: ARG002
        """See `Hook`."""
        if self.end > recipe.steps:
            raise ValueError(f"pruning ends at update {self.end}, the training at {recipe.steps}")
        return sorted({*range(self.begin, self.end, self.every), self.end})

    def at(self, step: int, run: Run) -> None:
        """See `Hook`."""
        left_to_go = (1 - (step - self.begin) / (self.end - self.begin)) ** 3
        for names, kept in self.target.items():
            size = sum(run.masks[name].numel() for name in names)
            self._keep_largest(run, names, kept + round((size - kept) * left_to_go))

    @staticmethod
    def _keep_largest(run: Run, names: tuple[str, ...], count: int) -> None:
        """Let `count` weights of largest magnitude among these tensors stay, of those that are left."""
        magnitudes = [run.network.get_parameter(name).detach().abs().flatten() for name in names]
        left = torch.cat([run.masks[name].flatten() for name in names])
        order = torch.where(left, torch.cat(magnitudes), -1.0).argsort(descending=True, stable=True)
        chosen = torch.zeros_like(left)
        chosen[order[:count]] = True
        parts = torch.split(chosen & left, [len(part) for part in magnitudes])
        for name, part in zip(names, parts, strict=True):
            run.masks[name] = part.reshape(run.masks[name].shape)
