"""BINGO: significance scores from trials during training. Panangat 2025, arXiv 2505.09864."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from benchmark.api import GathersScores, Recipe, Run


class Bingo(GathersScores):
    """After every update a random share of each tensor's weights is put back for a moment, and A, the accuracy on a
    batch, measured before and after. Of the weights that were touched the significance becomes

        S <- (S + 1 - |A_before - A_after| / A_before) / 2    with `formula: printed`, from S = 0.5 (Method)
        S <- (S +     |A_before - A_after|           ) / 2    with `formula: released`, from S = 0 (the author's code)

    and the lowest S are to be pruned. The two rank the other way round: printed, a weight that matters is low. `back`:
    what weights are put back to, their initial values or zero. `share`: of each tensor; 1 % in the code, and not stated
    in the paper.

    The batch is that of the next update: the one of the last is gone when a hook acts. Both accuracies are of it.
    """

    paper = "Panangat 2025, arXiv 2505.09864"
    moves_masks = False

    def __init__(
        self,
        formula: Literal["printed", "released"] = "printed",
        back: Literal["initial", "zero"] = "initial",
        share: float = 0.01,
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share is {share}, outside (0, 1]")
        self.formula, self.back, self.share = formula, back, share
        self.initial = dict[str, Tensor]()
        self._scores = dict[str, Tensor]()
        self._passes = 0

    @property
    def scores(self) -> Mapping[str, Tensor]:
        """S of every weight, by prunable tensor."""
        return self._scores

    @property
    def forward_passes(self) -> int:
        """Of a batch each, all for the scores."""
        return self._passes

    def when(self, recipe: Recipe, updates_per_epoch: int) -> Iterable[int]:  # noqa: ARG002
        """See `Hook`: after every update but the last, which no batch follows; at 0 initial values are noted."""
        return range(recipe.steps)

    @torch.no_grad()
    def at(self, step: int, run: Run) -> None:
        """See `Hook`. The network comes back as it was, to the bit."""
        weights = {name: run.network.get_parameter(name) for name in run.masks}
        if step == 0:
            first = 0.5 if self.formula == "printed" else 0.0
            self.initial = {name: weight.clone() for name, weight in weights.items()}
            self._scores = {name: torch.full_like(weight, first) for name, weight in weights.items()}
            return
        generator = run.rng("bingo")
        touched = {name: self._drawn(weight, generator) for name, weight in weights.items()}
        trained = {name: weight.clone() for name, weight in weights.items()}
        before = self._accuracy(run)
        for name, weight in weights.items():
            weight[touched[name]] = self.initial[name][touched[name]] if self.back == "initial" else 0.0
        after = self._accuracy(run)
        for name, weight in weights.items():
            weight.copy_(trained[name])
        self._passes += 2
        if before == 0:
            return  # the printed formula divides by it
        change = abs(before - after)
        term = 1 - change / before if self.formula == "printed" else change
        for name, where in touched.items():
            self._scores[name][where] = (self._scores[name][where] + term) / 2

    def _drawn(self, weight: Tensor, generator: torch.Generator) -> Tensor:
        draws = torch.rand(weight.shape, generator=generator, device=generator.device)
        return draws.to(weight.device) < self.share

    def _accuracy(self, run: Run) -> float:
        inputs, labels = run.batch()
        return float((run.network(inputs).argmax(1) == labels).double().mean())

    def facts(self) -> Mapping[str, int | float]:
        """See `Hook`: forward passes of a batch that the scores took."""
        return {"forward_passes": self._passes}

    def state(self) -> Mapping[str, Tensor]:
        """See `Hook`."""
        initial = {f"initial.{name}": value for name, value in self.initial.items()}
        scores = {f"scores.{name}": value for name, value in self._scores.items()}
        return {"passes": torch.tensor(self._passes), **initial, **scores}

    def resume(self, state: Mapping[str, Tensor], run: Run) -> None:  # noqa: ARG002
        """See `Hook`."""
        self._passes = int(state["passes"])
        self.initial = {n.removeprefix("initial."): t.clone() for n, t in state.items() if n.startswith("initial.")}
        self._scores = {n.removeprefix("scores."): t.clone() for n, t in state.items() if n.startswith("scores.")}
