"""What the scores behind a mask tell: sums by layer, conservation at hidden units, prune size against cut size."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from benchmark.protocols.methods import PruningSpec
from benchmark.pruning.interface import Masks, Scores
from benchmark.pruning.masks import left, whole
from benchmark.records.schema import LayerScores, ScoreFacts


class ScoreWatch:
    """Watches the rounds of masks (see `benchmark.pruning.schedule.Watcher`) and sums up what their scores were.

    Levels that are cut from one set of scores share its sums, which are made once.
    """

    def __init__(self, pruning: PruningSpec) -> None:
        self._layer_of = pruning.layer_of
        self._summed: tuple[Scores, Masks, dict[str, LayerScores]] = {}, {}, {}
        self._unit_error: float | None = None
        self._rounds = 0
        self._prune_to_cut: float | None = None

    def restart(self) -> None:
        """Forget the rounds: another mask begins."""
        self._rounds, self._prune_to_cut = 0, None

    def __call__(self, scores: Scores, before: Masks, after: Masks) -> None:
        """One more round. Only weights that were left when they were scored count."""
        if self._summed[0] is not scores:
            self._summed = scores, before, self._sums(scores, before)
            self._unit_error = None
        self._rounds += 1
        layers = self._summed[2].values()
        kept = sum(layer.sum for layer in self._sums(scores, before, after).values())
        smallest = min(layer.sum for layer in layers)
        if smallest > 0:  # in the rounds before a layer is empty
            ratio = (sum(layer.sum for layer in layers) - kept) / smallest
            self._prune_to_cut = max(self._prune_to_cut or 0.0, ratio)

    def _sums(self, scores: Scores, masks: Masks, inside: Masks | None = None) -> dict[str, LayerScores]:
        layers: dict[str, LayerScores] = {}
        for name, mask in masks.items():
            values = torch.from_numpy(left(scores[name], mask, None if inside is None else inside[name]))
            known = layers.get(self._layer_of[name], LayerScores(sum=0.0, scored=0))
            more = LayerScores(sum=known.sum + float(values.sum()), scored=known.scored + len(values))
            layers[self._layer_of[name]] = more
        return layers

    @property
    def facts(self) -> ScoreFacts | None:
        """Of the last round, and the worst prune size of all; None if nothing was scored."""
        if not self._rounds:
            return None
        scores, before, layers = self._summed
        if self._unit_error is None:
            self._unit_error = unit_error({n: whole(scores[n].detach(), m) * m for n, m in before.items()})
        return ScoreFacts(
            rounds=self._rounds,
            layers=layers,
            unit_error_largest=self._unit_error,
            prune_to_cut_largest=self._prune_to_cut,
        )


def unit_error(scores: Mapping[str, Tensor]) -> float | None:
    """Largest relative difference between the scores that go into a hidden unit and those that leave it.

    Theorem 1 of arXiv 2006.05467: they are equal for saliencies in a homogeneous network. `scores`: one tensor
    (outputs, inputs, ...) per layer of a chain, in order; a unit is an output, a channel for convolutions, and may
    feed several inputs of the next layer, one after another. Relative to the larger of both in size; units without
    score count as 0. None if the tensors make no chain: with biases among them, or branches.
    """
    worst = 0.0
    for one, following in pairwise(scores.values()):
        if one.dim() < 2 or following.dim() < 2 or following.shape[1] % one.shape[0]:
            return None
        into = one.double().flatten(1).sum(1)
        by_input = following.double().flatten(2).sum(2) if following.dim() > 2 else following.double()
        out = by_input.sum(0).reshape(one.shape[0], -1).sum(1)
        scale = torch.maximum(into.abs(), out.abs())
        worst = max(worst, float(torch.where(scale > 0, (into - out).abs() / scale, 0.0).max()))
    return worst
