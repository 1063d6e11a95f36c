"""OES: a mask learned on one noisy image, at initialization, by Gumbel-softmax gates (Ghosh et al., ICML 2024)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmark.api import Learner, uniforms


class OptimalEyeSurgeon(Learner):
    """Scores are logits p, 0 at first. Every update draws a gate for each parameter from the relaxed Bernoulli
    distribution of sigmoid(p): m = sigmoid((p + l) / T), with l logistic noise and T the temperature.

    That is what the released soft_quantize gives for two values, 1 and 0: the softmax of
    (log sigmoid(p) + g1, log(1 - sigmoid(p)) + g0) / T with Gumbel noise g, since g1 - g0 is logistic. The loss is the
    reconstruction error plus `kl` times the mean over parameters of KL(Bernoulli(sigmoid(p)), Bernoulli(p0)), with p0
    the density asked for. The code multiplies the sum by 1e-9; `kl` = 1e-9 times its 3,008,867 parameters = 0.003 does
    the same for a network of any size.

    The mask keeps the highest p over all parameters together (global), of equal ones the first; the code draws.
    """

    needs = "training set"
    paper = "arXiv 2406.05288"

    def __init__(self, kl: float = 0.003, temperature: float = 0.2) -> None:
        if kl < 0 or temperature <= 0:
            raise ValueError("kl is not below 0 and temperature above 0")
        self.kl, self.temperature = kl, temperature

    def first_scores(self, weight: Tensor, rng: torch.Generator) -> Tensor:  # noqa: ARG002
        """0: a gate is open with probability 1/2."""
        return torch.zeros(weight.shape)

    def mask(self, scores: Mapping[str, Tensor], left: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Learner`: the gates under this update's noise; without noise where the network is measured."""
        p = flat(scores)
        gates, place, masks = torch.sigmoid((p + self.noise(p)) / self.temperature), 0, dict[str, Tensor]()
        for name, score in scores.items():
            masks[name] = gates[place : place + score.numel()].reshape(score.shape) * left[name]
            place += score.numel()
        return masks

    def noise(self, p: Tensor) -> Tensor:
        """Logistic noise of the shape of `p`: log u - log(1 - u)."""
        if self.words is None:
            return torch.zeros_like(p)
        u = uniforms(self.words, p.shape).clamp(1e-6, 1 - 1e-6)
        return u.log() - (1 - u).log()

    def penalty(self, scores: Mapping[str, Tensor]) -> Tensor | None:
        """See `Learner`: `kl` times the mean divergence from gates open with probability p0."""
        p = flat(scores)
        return self.kl * divergence(torch.sigmoid(p), sum(self.target.values()) / p.numel()).mean()

    def ranking(self, scores: Mapping[str, Tensor], left: Mapping[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG002
        """See `Learner`: the logits themselves, for their sign counts. All are left until the end."""
        return {name: p.detach() for name, p in scores.items()}


def flat(scores: Mapping[str, Tensor]) -> Tensor:
    """(n,) the entries of all tensors: a few operations on one vector cost less than as many on each tensor."""
    return torch.cat([p.flatten() for p in scores.values()])


def divergence(q: Tensor, prior: float) -> Tensor:
    """KL(Bernoulli(q), Bernoulli(prior)), entry by entry, with the released code's 1e-6 inside its logarithms."""
    return q * ((q + 1e-6) / prior).log() + (1 - q) * ((1 - q + 1e-6) / (1 - prior)).log()
