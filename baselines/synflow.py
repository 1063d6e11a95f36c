"""SynFlow: iterative synaptic flow pruning (Tanaka, Kunin, Yamins, Ganguli, NeurIPS 2020)."""

from __future__ import annotations

import torch

from benchmark.api import Examples, Network, Pruner, Scores


class SynFlow(Pruner):
    """score = |w| * dR/d|w|, with R the sum of outputs on an input of ones with every parameter made positive.

    R = 1^T (prod_l |W_l|) 1 (their eq. 4). Float64, because R spans more decades than float32 holds on deep
    networks, and eval mode, so that batch norm is the fixed map its buffers say. No data is needed. The hundred
    rounds that keep layers from collapsing are the protocol's schedule; each looks at what the one before has left.
    """

    needs = "nothing"
    paper = "arXiv 2006.05467"

    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
        magnitudes = {name: w.abs().double() for name, w in network.kept().items()}
        others = {name: t.abs().double() if t.is_floating_point() else t for name, t in network.others.items()}
        ones = torch.ones(1, *network.input_shape, dtype=torch.float64)
        was_training = network.module.training
        network.module.eval()
        try:
            flow = network.gradients(lambda weights: network.logits(ones, weights, others).sum(), magnitudes)
        finally:
            network.module.train(was_training)
        return {name: magnitudes[name] * gradient for name, gradient in flow.items()}
