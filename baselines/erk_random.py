"""Random pruning with Erdos-Renyi(-Kernel) densities by layer (Mocanu et al. 2018, Evci et al. 2020, Liu 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch

from benchmark.api import Examples, Network, Pruner, Scores


class ErkRandom(Pruner):
    """density_l = eps * sum(shape_l) / prod(shape_l), uniformly random inside a layer.

    For a convolution the sum is n_out + n_in + k_h + k_w (ERK), for a linear layer n_out + n_in (ER). eps is what gives
    the asked total; a layer that would be denser than 1 is dense, and eps is found again for the rest. Exact counts,
    unlike the Bernoulli masks of the study's repository. A bias vector is a layer of density min(eps, 1).
    """

    needs = "nothing"
    allocation = "by-pruner"
    paper = "arXiv 1911.11134 (ERK), 2202.02643 (random pruning)"

    def budgets(self, shapes: Mapping[str, tuple[int, ...]], kept: int) -> dict[str, float]:
        dense: set[str] = set()
        while True:
            rest = [name for name in shapes if name not in dense]
            left = kept - sum(prod(shapes[name]) for name in dense)
            eps = left / sum(sum(shapes[name]) for name in rest) if rest else 0.0  # density * size = eps * sum(shape)
            full = {name for name in rest if eps * sum(shapes[name]) > prod(shapes[name])}
            if not full:
                return {n: float(prod(s)) if n in dense else eps * sum(s) for n, s in shapes.items()}
            dense |= full

    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
        return {name: torch.rand(w.shape, generator=rng, dtype=torch.float64) for name, w in network.weights.items()}
