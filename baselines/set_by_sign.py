"""SET as its released code does it: arXiv 1707.04780, and the authors' tutorial at IJCAI 2019 (set_mlp.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from benchmark.api import MovingMasks, Recipe, Run


class SetBySign(MovingMasks):
    """Of each sign, the share of weights closest to zero goes: the least positive and the greatest negative ones.

    As many grow at random places, the dropped ones' among them, and start from normal numbers of deviation `spread`
    instead of from zero. `after`: updates between the end of an epoch and the move, so that a network which is
    evaluated when an epoch has ended is the trained one and not the one with new weights.
    """

    paper = "Mocanu et al. 2018, arXiv 1707.04780"

    def __init__(
        self,
        every: int | Literal["epoch"] = "epoch",
        until: int = 0,
        share: float = 0.3,
        anneal: Literal["cosine", "constant"] = "constant",
        spread: float = 0.1,
        after: int = 1,
    ) -> None:
        super().__init__(every, until, share, anneal)
        self.spread, self.after = spread, after

    def when(self, recipe: Recipe, updates_per_epoch: int) -> Iterable[int]:
        """`after` updates behind the steps of `MovingMasks`, inside the training."""
        return [
            step + self.after for step in super().when(recipe, updates_per_epoch) if step + self.after < recipe.steps
        ]

    def grow_scores(self, run: Run) -> Mapping[str, Tensor]:
        """Uniform random numbers."""
        rng = run.rng("grow")
        return {name: torch.rand(mask.shape, generator=rng).to(mask.device) for name, mask in run.masks.items()}

    def drop_scores(self, weight: Tensor) -> Tensor:
        """Rank by magnitude among the weights of the same sign, in (0, 1]; 0 where a weight is exactly zero."""
        flat, scores = weight.flatten(), torch.zeros(weight.numel(), dtype=torch.float64, device=weight.device)
        for places in ((flat > 0).nonzero().flatten(), (flat < 0).nonzero().flatten()):
            order = flat[places].abs().argsort(stable=True)
            ranks = torch.arange(1, len(places) + 1, dtype=torch.float64, device=weight.device)
            scores[places[order]] = ranks / max(len(places), 1)
        return scores.reshape(weight.shape)

    def grown(self, name: str, run: Run, where: Tensor) -> None:
        """Normal numbers of deviation `spread`."""
        weight = run.network.get_parameter(name)
        drawn = self.spread * torch.randn(weight.shape, generator=run.rng(f"values {name}"))
        with torch.no_grad():
            weight[where] = drawn.to(weight.device)[where]
