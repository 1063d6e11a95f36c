"""SNIP: connection sensitivity (Lee, Ajanthan, Torr, ICLR 2019)."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from benchmark.api import Examples, Network, Pruner, Scores


class Snip(Pruner):
    """score = |w * dL/dw|, the effect on the loss of removing a weight, to first order (their eqs. 5 and 6).

    The paper divides by the sum over all weights; that changes no order, so it is left out. The gate's own
    gradient, dL/dc at c = 1, equals w * dL/dw. A weight already pruned has w = 0 and so scores 0.
    """

    needs = "labels"
    paper = "arXiv 1810.02340"

    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
        assert examples is not None  # the harness gives what `needs` declares
        gradients = network.gradients(
            lambda weights: cross_entropy(network.logits(examples.inputs, weights), examples.labels)
        )
        return {name: (network.weights[name] * g).abs() for name, g in gradients.items()}
