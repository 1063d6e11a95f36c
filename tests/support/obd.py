"""An author's file: Optimal Brain Damage with the empirical Fisher information for the diagonal of the Hessian.

LeCun, Denker, Solla 1989, eq. 6 (s_k = h_kk w_k^2 / 2), of the trained network, on labelled examples.
"""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from benchmark.api import Examples, Network, Pruner, Scores


class Obd(Pruner):
    """score = w^2 / 2 * mean over examples of (dL/dw)^2."""

    needs = frozenset({"trained weights", "labels"})
    paper = "LeCun, Denker, Solla 1989"
    allocation = "layerwise"

    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
        assert examples is not None  # the harness gives what `needs` declares
        fisher = {name: torch.zeros_like(weight) for name, weight in network.weights.items()}
        for x, y in zip(examples.inputs.split(1), examples.labels.split(1), strict=True):
            gradients = network.gradients(lambda w, x=x, y=y: cross_entropy(network.logits(x, w), y))
            fisher = {name: total + gradients[name] ** 2 for name, total in fisher.items()}
        return {name: w**2 / 2 * fisher[name] / len(examples.labels) for name, w in network.weights.items()}
