"""Random tickets with smart ratios (Su, Chen, Cai, Wu, Gao, Wang, Lee, NeurIPS 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch

from benchmark.api import Examples, Network, Pruner, Scores


class SmartRatio(Pruner):
    """Of L layers, layer l keeps a share proportional to (L - l + 1)^2 + (L - l + 1), the last layer `last` of its own.

    Uniformly random inside a layer. What a layer would keep above all it has goes to the following ones in order, and
    what finds no room there to the earlier ones and then the last. `vgg`: shares are also divided by l^2, as the
    authors do for VGG. Their last layer is the network's only linear one and keeps 0.3; in a network of linear layers
    alone that is read as the last of them, the output. If the last layer's 0.3 is more than the whole budget, or would
    leave nothing to the others, it keeps its share of the whole instead (our choice: the paper never gets there).
    """

    needs = "nothing"
    allocation = "by-pruner"
    paper = "arXiv 2009.11094"

    def __init__(self, last: float = 0.3, vgg: bool = False) -> None:
        self.last, self.vgg = last, vgg

    def budgets(self, shapes: Mapping[str, tuple[int, ...]], kept: int) -> dict[str, float]:
        sizes = {name: prod(shape) for name, shape in shapes.items()}
        *hidden, output = sizes
        if not hidden:
            return {output: float(kept)}
        depth, share = len(sizes), {}
        for place, name in enumerate(hidden, start=1):
            k = depth - place + 1
            share[name] = (k**2 + k) / (place**2 if self.vgg else 1)
        density = kept / sum(sizes.values())
        of_output = sizes[output] * (self.last if self.last * sizes[output] < kept else density)
        scale = (kept - of_output) / sum(share[name] * sizes[name] for name in hidden)
        budgets, surplus = {output: of_output}, 0.0
        for name in hidden:
            wanted = scale * share[name] * sizes[name] + surplus
            budgets[name] = min(wanted, float(sizes[name]))
            surplus = wanted - budgets[name]
        for name in [*hidden, output]:  # what found no room behind
            more = min(surplus, sizes[name] - budgets[name])
            budgets[name] += more
            surplus -= more
        return {name: budgets[name] for name in shapes}

    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
        return {name: torch.rand(w.shape, generator=rng, dtype=torch.float64) for name, w in network.weights.items()}
