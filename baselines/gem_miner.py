"""Gem-Miner: a mask learned at initialization, for weights that are trained under it afterwards.

Sreenivasan et al., "Rare Gems", NeurIPS 2022, arXiv 2202.12002, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from benchmark.api import Learner, Recipe, Run, annealed, cut_steps, highest, straight_through


class GemMiner(Learner):
    """Scores p in [0, 1] from U(0, 1); w * q * 1[p >= 1/2] is what computes, and the gradient passes the rounding:
    dp = dL/d(w q r) * w * q + 2 lambda p; after every update p is clipped to [0, 1].

    q holds which weights are left. Before every `period`th epoch the lowest p among them are frozen at 0 for good, so
    that density^(k/n) of all weights are left after cut k of n: the 1 - exp(-ct) of the paper with c = ln(1/density)/T,
    whose printed form, 1 - e^(ct), has lost a sign. As in the released code n = floor((E - 1) / period) of E epochs, so
    the last of them learn at the asked density. Most low p have been clipped to 0 and are equal: those that go are
    drawn at random; the released code freezes all that are not above the cut, more than asked for. What is left at the
    end is the mask, scores below 1/2 included: the released code restores those before it trains the weights
    ("unflag").

    `penalty`: lambda; `norm`: l2 adds lambda sum p^2 to the loss, l1 lambda sum p. Of inverted masks those weights stay
    that were frozen first, and of these the lowest p.
    """

    needs = "training set"
    paper = "Sreenivasan et al. 2022, arXiv 2202.12002"

    def __init__(self, period: int = 5, penalty: float = 1e-4, norm: Literal["l2", "l1"] = "l2") -> None:
        if period < 1 or penalty < 0 or norm not in ("l2", "l1"):
            raise ValueError(f"period {period} is below 1, penalty {penalty} below 0, or norm {norm!r} not l2 or l1")
        self.period, self.strength, self.norm = period, penalty, norm
        self.cuts, self.last = tuple[int, ...](), 0
        self.frozen = dict[str, Tensor]()  # per tensor, the rank of what was frozen: below 0, the later the higher
        self.on = 0

    def first_scores(self, weight: Tensor, rng: torch.Generator) -> Tensor:
        """U(0, 1)."""
        return torch.rand(weight.shape, generator=rng)

    def mask(self, scores: Mapping[str, Tensor], left: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Learner`."""
        return {name: straight_through(p, (p >= 0.5) & left[name]) for name, p in scores.items()}

    def penalty(self, scores: Mapping[str, Tensor]) -> Tensor | None:
        """See `Learner`. What is frozen is 0 and adds nothing."""
        if self.strength == 0:
            return None
        sums = [(p.square() if self.norm == "l2" else p).sum() for p in scores.values()]
        return self.strength * torch.stack(sums).sum()

    def bound(self, scores: Mapping[str, Tensor]) -> None:
        """See `Learner`."""
        for p in scores.values():
            p.clamp_(0.0, 1.0)

    def ranking(self, scores: Mapping[str, Tensor], left: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Learner`."""
        return {name: torch.where(left[name], p.detach(), self._rank(name, p)) for name, p in scores.items()}

    def when(self, recipe: Recipe, updates_per_epoch: int) -> Iterable[int]:
        """See `Hook`: where it freezes, and at the end."""
        self.cuts, self.last = cut_steps(recipe.steps, updates_per_epoch, self.period), recipe.steps
        return (*self.cuts, self.last)

    def at(self, step: int, run: Run) -> None:
        """See `Hook`: freeze the lowest of what is left."""
        if step == self.last:
            self.on = sum(int(((run.scores[name] >= 0.5) & mask).sum()) for name, mask in run.masks.items())
            return
        ranks = self.ranking(run.scores, run.masks)
        sizes = {names: sum(ranks[name].numel() for name in names) for names in self.target}
        place = self.cuts.index(step) + 1
        share = place / len(self.cuts)
        counts = {names: annealed(sizes[names], count, share) for names, count in self.target.items()}
        masks = highest(ranks, counts, run.rng("ties"))
        to_come = 1 + len(self.cuts) - place
        for name, mask in masks.items():
            now = run.masks[name] & ~mask
            self.frozen[name] = torch.where(now, run.scores[name] - 1 - to_come, self._rank(name, mask))
        run.masks.update(masks)

    def _rank(self, name: str, like: Tensor) -> Tensor:
        return self.frozen[name] if name in self.frozen else torch.zeros(like.shape, device=like.device)

    def facts(self) -> Mapping[str, int | float]:
        """See `Hook`: of the weights left at the end, how many the rounding let compute."""
        return {"scores_above_half": self.on}

    def state(self) -> Mapping[str, Tensor]:
        """See `Hook`."""
        return {"on": torch.tensor(self.on), **{f"frozen.{name}": rank for name, rank in self.frozen.items()}}

    def resume(self, state: Mapping[str, Tensor], run: Run) -> None:
        """See `Hook`."""
        self.on = int(state["on"])
        self.frozen = {
            name: state[f"frozen.{name}"].to(mask.device)
            for name, mask in run.masks.items()
            if f"frozen.{name}" in state
        }
