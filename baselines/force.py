"""FORCE: foresight connection sensitivity, round by round (de Jorge, Sanyal, Behl, Torr, Rogez, Dokania, ICLR 2021).

Their Iterative SNIP is `snip` under the same rounds, with pruned weights that never return: a protocol's schedule.
"""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from benchmark.api import Examples, Network, Pruner, Scores


class Force(Pruner):
    """score = |theta * dL/dw at w = theta * mask|: what a weight would matter to the network as pruned so far.

    With theta the weights before any mask (their eq. 6), a pruned weight has a score too, by the gradient of the
    network without it, and comes back if it outranks what the round would keep. Density falls exponentially,
    k_t = N^(1 - t/T) k^(t/T). All rounds score the same examples, where the authors' code draws a batch a round.
    """

    needs = "labels"
    rounds = 60
    pruned_weights = "may-return"
    paper = "arXiv 2006.09081"

    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
        assert examples is not None  # the harness gives what `needs` declares
        theta = network.unmasked()
        gradients = network.gradients(
            lambda weights: cross_entropy(network.logits(examples.inputs, weights), examples.labels)
        )
        return {name: (theta[name] * g).abs() for name, g in gradients.items()}
