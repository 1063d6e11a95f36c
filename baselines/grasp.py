"""GraSP: gradient signal preservation (Wang, Zhang, Grosse, ICLR 2020)."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from benchmark.api import Examples, Network, Pruner, Scores


class Grasp(Pruner):
    """score = w * (H g), with g and H the gradient and Hessian of the loss over the scored examples.

    Removing weight i changes ||g||^2 / 2 by -w_i (H g)_i to first order (their eq. 8). GraSP removes the weights
    whose removal lowers the gradient flow least or raises it, that is the *largest* -w * (H g); here higher
    stays, so the sign is turned. g is held constant in grad(g . stop(g)) = H g. Logits are divided by
    T = 200 as in the authors' code. All examples are one batch: the halves of that code only save memory.
    """

    needs = "labels"
    paper = "arXiv 2002.07376"

    def __init__(self, temperature: float = 200.0) -> None:
        self.temperature = temperature

    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
        assert examples is not None  # the harness gives what `needs` declares

        def loss(weights: Scores) -> torch.Tensor:
            return cross_entropy(network.logits(examples.inputs, weights) / self.temperature, examples.labels)

        def gradient_along_itself(weights: Scores) -> torch.Tensor:
            g = torch.autograd.grad(loss(weights), list(weights.values()), create_graph=True)
            return torch.stack([(part * part.detach()).sum() for part in g]).sum()

        hessian_gradient = network.gradients(gradient_along_itself)
        network.cost.backward_passes += 1  # the inner one
        return {name: network.weights[name] * hg for name, hg in hessian_gradient.items()}
