"""Random pruning: every weight of a layer is equally likely to stay."""

from __future__ import annotations

import torch

from benchmark.api import Examples, Network, Pruner, Scores


class Random(Pruner):
    """Independent uniform scores. The budget of each layer comes from the protocol's allocation.

    Exact counts, unlike the Bernoulli masks of some repositories, whose density is itself random.
    """

    needs = "nothing"
    paper = "baseline without a single origin; used so in arXiv 2006.05467 and 2009.08576"

    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
        return {name: torch.rand(w.shape, generator=rng, dtype=torch.float64) for name, w in network.weights.items()}
