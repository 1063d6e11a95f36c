"""ProsPr: prospect pruning by meta-gradients (Alizadeh, Tailor, Zintgraf et al., ICLR 2022)."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from benchmark.api import Examples, Network, Pruner, Scores


class ProsPr(Pruner):
    """score = |dL(w_M; batch M) / dc| at c = 1, where w_0 = c * w and training takes w_0 to w_M:

    w_{i+1} = w_i - rate * v_i,  v_i = momentum * v_{i-1} + dL(w_i; batch i) / dw_i.

    The gate acts once, on the initial weights, and its effect is followed through M steps of training: all second
    derivatives are kept (their full method). Weights, biases and whatever else is not prunable take the steps too;
    only prunable weights have gates. The examples are split at random into M + 1 batches, a fresh one for every step
    and for the last loss. The README's inner rate and momentum (0.5 and 0.9) are not the code's defaults (0.1 and 0),
    which stand here. The authors score in train mode; in eval mode the steps diverge on residual networks whose batch
    norm still has its initial statistics, and the harness refuses the NaN: say `batch_norm: train` there.
    """

    needs = "labels"
    paper = "arXiv 2202.08132"

    def __init__(self, steps: int = 3, learning_rate: float = 0.1, momentum: float = 0.0) -> None:
        self.steps, self.learning_rate, self.momentum = steps, learning_rate, momentum

    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:
        assert examples is not None  # the harness gives what `needs` declares
        if len(examples.labels) <= self.steps:
            raise ValueError(f"{len(examples.labels)} examples for {self.steps} steps and the loss after them")
        shuffled = torch.randperm(len(examples.labels), generator=rng)
        batches = torch.tensor_split(shuffled, self.steps + 1)
        trained = {name: t for name, t in network.others.items() if name in dict(network.module.named_parameters())}
        buffers = {name: t for name, t in network.others.items() if name not in trained}

        def loss(weights: Scores, others: Scores, batch: torch.Tensor) -> torch.Tensor:
            outputs = network.logits(examples.inputs[batch], weights, {**buffers, **others})
            return cross_entropy(outputs, examples.labels[batch])

        def loss_after_training(gates: Scores) -> torch.Tensor:
            weights = {name: gates[name] * w for name, w in network.weights.items()}
            others = {name: t.detach().requires_grad_() for name, t in trained.items()}
            velocity: Scores = {}
            for batch in batches[:-1]:
                everything = {**weights, **others}
                gradients = torch.autograd.grad(
                    loss(weights, others, batch), list(everything.values()), create_graph=True
                )
                network.cost.backward_passes += 1
                moved = {}
                for (name, w), g in zip(everything.items(), gradients, strict=True):
                    velocity[name] = self.momentum * velocity[name] + g if name in velocity else g
                    moved[name] = w - self.learning_rate * velocity[name]
                weights = {name: moved[name] for name in weights}
                others = {name: moved[name] for name in others}
            return loss(weights, others, batches[-1])

        gates = {name: torch.ones_like(w) for name, w in network.weights.items()}
        return {name: g.abs() for name, g in network.gradients(loss_after_training, gates).items()}
