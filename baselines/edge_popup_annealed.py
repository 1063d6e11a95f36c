"""edge-popup that goes to its density by steps.

Fischer and Burkholz, "Plant 'n' Seek", ICLR 2022, arXiv 2111.11153, Section 3.2; "gradual" in the ablation of
Sreenivasan et al., "Rare Gems", NeurIPS 2022, arXiv 2202.12002, Table 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import sqrt

import torch
from torch import Tensor

from benchmark.api import Learner, Recipe, Run, annealed, cut_steps, highest, straight_through


class EdgePopupAnnealed(Learner):
    """h(s) = 1 for the largest |s|, 0 for all others, as many as density^(k / n) leaves after cut k of n; w * h(s) is
    what computes, and the gradient passes h as if it were |s|. Weights may return.

    A cut comes before an epoch, `every` so many, and the last of them before the last epochs: scores are trained at the
    density that is asked for. `from_start`: the first before the first epoch, as `ticket_main.py --anneal` of
    Plant 'n' Seek does, whose epoch i of n has density^(i / n). `penalty`: this times the sum of squared scores is
    added to the loss.
    """

    needs = "training set"
    paper = "Ramanujan et al. 2020, arXiv 1911.13299; Fischer and Burkholz 2022, arXiv 2111.11153"

    def __init__(self, every: int = 1, from_start: bool = False, penalty: float = 0.0) -> None:
        if every < 1 or penalty < 0:
            raise ValueError(f"every {every} is below 1, or penalty {penalty} below 0")
        self.every, self.from_start, self.strength = every, from_start, penalty
        self.cuts = tuple[int, ...]()
        self.share = 0.0  # of the way to the asked density

    def first_scores(self, weight: Tensor, rng: torch.Generator) -> Tensor:
        """Kaiming-uniform with a = sqrt(5): U(-b, b), b = 1 / sqrt(fan in), as `edge-popup`."""
        return (torch.rand(weight.shape, generator=rng) * 2 - 1) / sqrt(weight[0].numel())

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
        self.cuts = cut_steps(recipe.steps, updates_per_epoch, self.every, self.from_start)
        return self.cuts

    def at(self, step: int, run: Run) -> None:  # noqa: ARG002
        """See `Hook`."""
        self.share = (self.cuts.index(step) + 1) / len(self.cuts)

    def state(self) -> Mapping[str, Tensor]:
        """See `Hook`."""
        return {"share": torch.tensor(self.share, dtype=torch.float64)}

    def resume(self, state: Mapping[str, Tensor], run: Run) -> None:  # noqa: ARG002
        """See `Hook`."""
        self.share = float(state["share"])
