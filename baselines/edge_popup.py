"""edge-popup: a subnetwork of random weights, found by its scores. Ramanujan et al., CVPR 2020, arXiv 1911.13299."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import sqrt

import torch
from torch import Tensor

from benchmark.api import Learner, Recipe, Run, annealed, event_steps, highest, straight_through


class EdgePopup(Learner):
    """h(s) = 1 for the largest |s|, 0 for all others, of each layer or of the whole network, as the method's allocation
    says; w * h(s) is what computes, and the gradient passes h as if it were |s|: ds = dL/d(w h) * w * sign(s).

    `gradual`: every so many epochs the number that h leaves is lowered, from all weights to the asked ones by equal
    factors; weights may return ("gradual pruning" in the ablation of arXiv 2202.12002). 0: the asked number throughout.
    `penalty`: this times the sum of squared scores is added to the loss.
    """

    needs = "training set"
    paper = "Ramanujan et al. 2020, arXiv 1911.13299"

    def __init__(self, gradual: int = 0, penalty: float = 0.0) -> None:
        if gradual < 0 or penalty < 0:
            raise ValueError(f"gradual {gradual}, penalty {penalty}: neither may be below 0")
        self.gradual, self.strength = gradual, penalty
        self.share = 0.0 if gradual else 1.0  # of the way to the asked density
        self.steps = 1

    def first_scores(self, weight: Tensor, rng: torch.Generator) -> Tensor:
        """Kaiming-uniform with a = sqrt(5), as in the released code: U(-b, b), b = 1 / sqrt(fan in)."""
        fan_in = weight[0].numel()
        return (torch.rand(weight.shape, generator=rng) * 2 - 1) / sqrt(fan_in)

    def mask(self, scores: Mapping[str, Tensor], left: Mapping[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG002
        """See `Learner`."""
        sizes = {names: sum(scores[name].numel() for name in names) for names in self.target}
        counts = {names: annealed(sizes[names], count, self.share) for names, count in self.target.items()}
        magnitudes = {name: score.abs() for name, score in scores.items()}
        chosen = highest(magnitudes, counts)
        return {name: straight_through(magnitudes[name], chosen[name]) for name in scores}

    def penalty(self, scores: Mapping[str, Tensor]) -> Tensor | None:
        """See `Learner`."""
        return self.strength * torch.stack([s.square().sum() for s in scores.values()]).sum() if self.strength else None

    def when(self, recipe: Recipe, updates_per_epoch: int) -> Iterable[int]:
        """See `Hook`."""
        self.steps = recipe.steps
        return event_steps(recipe.steps, self.gradual * updates_per_epoch) if self.gradual else ()

    def at(self, step: int, run: Run) -> None:  # noqa: ARG002
        """See `Hook`."""
        self.share = step / self.steps

    def state(self) -> Mapping[str, Tensor]:
        """See `Hook`."""
        return {"share": torch.tensor(self.share, dtype=torch.float64)}

    def resume(self, state: Mapping[str, Tensor], run: Run) -> None:  # noqa: ARG002
        """See `Hook`."""
        self.share = float(state["share"])
