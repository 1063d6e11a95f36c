"""Magnitude pruning: small weights go.

Scored at initialization it is a pruner of its own; scored after training, round after round with rewinding, it is
iterative magnitude pruning (Frankle & Carbin). Which of them is the protocol's schedule, not this file.
"""

from __future__ import annotations

import torch

from benchmark.api import Examples, Network, Pruner, Scores


class Magnitude(Pruner):
    """score = |w|."""

    needs = "nothing"
    paper = "Han et al. 2015, arXiv 1506.02626; with rewinding, Frankle & Carbin 2019, arXiv 1803.03635"

    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
        return {name: w.abs() for name, w in network.weights.items()}
