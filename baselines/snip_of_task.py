"""SNIP with the loss of the task at hand: for tasks other than classification (Lee et al. 2019; Ghosh et al. 2024)."""

from __future__ import annotations

import torch

from benchmark.api import Examples, Network, Pruner, Scores


class SnipOfTask(Pruner):
    """score = |w * dL/dw|, L the mean loss that the network will be trained by.

    `baselines.snip` is the same with cross-entropy, which is no loss of an image. A weight already pruned has w = 0 and
    so scores 0, and so does a bias or a shift of batch norm that starts at 0.
    """

    needs = "labels"
    paper = "arXiv 1810.02340; of a reconstruction error in arXiv 2406.05288"

    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
        assert examples is not None  # the harness gives what `needs` declares
        inputs, labels = examples.inputs, examples.labels
        gradients = network.gradients(lambda weights: network.loss(network.logits(inputs, weights), labels))
        return {name: (network.weights[name] * g).abs() for name, g in gradients.items()}
