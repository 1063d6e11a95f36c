"""Mask criteria from initial and trained weights (Zhou, Lan, Liu, Yosinski, NeurIPS 2019)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmark.api import Examples, Network, Pruner, Scores


def rank(values: Tensor) -> Tensor:
    """How many of the values of a tensor are smaller, for each."""
    flat = values.flatten()
    return torch.searchsorted(flat.sort().values, flat).double().reshape(values.shape)


def both(one: Tensor, other: Tensor) -> Tensor:
    """High where both are: the lower of the two ranks. Cut at any count, it keeps a quadrant of equal percentiles."""
    return torch.minimum(rank(one), rank(other))


def where(same: bool, wi: Tensor, wf: Tensor, score: Tensor) -> Tensor:
    """The score of weights whose sign training has kept (`same`) or turned; 0 for the others."""
    return torch.where((wi.sign() == wf.sign()) == same, score, 0.0)


CRITERIA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "large_final": lambda _i, wf: wf.abs(),
    "small_final": lambda _i, wf: -wf.abs(),
    "large_init": lambda wi, _f: wi.abs(),
    "small_init": lambda wi, _f: -wi.abs(),
    "large_init_large_final": lambda wi, wf: both(wi.abs(), wf.abs()),
    "small_init_small_final": lambda wi, wf: both(-wi.abs(), -wf.abs()),
    "magnitude_increase": lambda wi, wf: wf.abs() - wi.abs(),
    "movement": lambda wi, wf: (wf - wi).abs(),
    "large_final_same_sign": lambda wi, wf: where(True, wi, wf, wf.abs()),
    "large_final_diff_sign": lambda wi, wf: where(False, wi, wf, wf.abs()),
    "magnitude_increase_same_sign": lambda wi, wf: where(True, wi, wf, wf.abs() - wi.abs()),
    "magnitude_increase_diff_sign": lambda wi, wf: where(False, wi, wf, wf.abs() - wi.abs()),
}


class MaskCriterion(Pruner):
    """score = a function of a weight's initial value wi and its trained value wf, by the name it has in the paper.

    In float64, so that a difference of two near magnitudes keeps its digits. Cut layer by layer in the paper, every
    other tie at random. "large_init_large_final" is min(alpha |wf|, |wi|) with the alpha at which both bounds leave
    out equal shares of a layer, which is the lower of the two ranks; "small_init_small_final" likewise. In the
    "sign" variants a weight of the other kind scores 0, as in the authors' code.
    """

    needs = "initial and trained weights"
    allocation = "layerwise"
    paper = "arXiv 1905.01067"

    def __init__(self, criterion: str = "large_final_same_sign") -> None:
        if criterion not in CRITERIA:
            raise ValueError(f"criterion: there is no '{criterion}', only {', '.join(CRITERIA)}")
        self.score_of = CRITERIA[criterion]

    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
        assert network.initial is not None  # the harness gives what `needs` declares
        initial = {name: w * network.masks[name] for name, w in network.initial.items()}  # what is pruned has no rank
        return {name: self.score_of(initial[name].double(), w.double()) for name, w in network.weights.items()}
