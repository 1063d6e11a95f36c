"""GraSP as its authors released it: two halves of the examples, and linear layers drawn anew (alecwangcq/GraSP)."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch.nn.functional import cross_entropy

from benchmark.api import Examples, Network, Pruner, Scores


class GraspReleased(Pruner):
    """score = w * sum_k H_k g with g = g_1 + g_2, over two halves of the examples; higher stays, as in `grasp`.

    g_k and H_k are gradient and Hessian of the mean loss of half k. The examples lie class after class, so the first
    half holds the first classes and the second the others; in train mode batch norm normalises each half by itself,
    and g is not the gradient of any one batch. Linear layers are drawn anew for scoring, normal with variance
    2 / (inputs + outputs), and their scores are those of the weights drawn. Logits are divided by T = 200.
    pruner/GraSP.py at f166054, read; `reinit` is left at its default by main_prune_non_imagenet.py.
    """

    needs = "labels"
    paper = "arXiv 2002.07376"

    def __init__(self, temperature: float = 200.0) -> None:
        self.temperature = temperature

    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:
        assert examples is not None  # the harness gives what `needs` declares
        weights = {name: _xavier(w, rng) if w.dim() == 2 else w for name, w in network.weights.items()}
        weights = {name: w * network.masks[name] for name, w in weights.items()}
        by_class = torch.argsort(examples.labels, stable=True)
        halves = by_class.tensor_split([len(by_class) // 2])

        def loss(half: torch.Tensor, some: Scores) -> torch.Tensor:
            logits = network.logits(examples.inputs[half], some)
            return cross_entropy(logits / self.temperature, examples.labels[half])

        first, second = (network.gradients(partial(loss, half), weights) for half in halves)
        g = {name: first[name] + second[name] for name in weights}

        def along_g(half: torch.Tensor, some: Scores) -> torch.Tensor:
            own = torch.autograd.grad(loss(half, some), list(some.values()), create_graph=True)
            return torch.stack([(part * g[name]).sum() for name, part in zip(some, own, strict=True)]).sum()

        scores = {name: torch.zeros_like(w) for name, w in weights.items()}
        for half in halves:
            hessian_g = network.gradients(partial(along_g, half), weights)
            network.cost.backward_passes += 1  # the inner one
            scores = {name: scores[name] + weights[name] * hessian_g[name] for name in weights}
        return scores


def _xavier(weight: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Another weight (outputs, inputs) of the same type."""
    deviation = math.sqrt(2.0 / sum(weight.shape))
    return (torch.randn(weight.shape, generator=rng) * deviation).to(weight)
