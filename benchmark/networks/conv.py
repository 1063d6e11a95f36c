"""Conv-2, Conv-4 and Conv-6 of "The Lottery Ticket Hypothesis" (arXiv 1803.03635, Fig. 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from benchmark.networks.layers import Head, dropout
from benchmark.networks.registry import FAMILIES
from benchmark.protocols.network import ConvSpec


@FAMILIES.register("conv")
class Conv(nn.Module):
    """Pairs of 3x3 convolutions with ReLU, a 2x2 max-pool after each pair, then layers of 256, 256 and the classes.

    Input (n, *spec.input); output (n, classes) logits. Tensors: conv1, conv2, ..., head.fc1 to head.fc3.
    """

    def __init__(self, spec: ConvSpec) -> None:
        super().__init__()
        channels, number = spec.input[0], 0
        for pool, group in enumerate(spec.groups, start=1):
            for width in group:
                number += 1
                self.add_module(f"conv{number}", nn.Conv2d(channels, width, 3, padding=1))
                channels = width
            self.add_module(f"drop_pool{pool}", dropout(spec.dropout, "pools-and-hidden-linear-layers"))
        self.pools = len(spec.groups)
        self.head = Head(spec.head, spec.dropout)

    def forward(self, x: Tensor) -> Tensor:
        for pool in range(1, self.pools + 1):
            for number in (2 * pool - 1, 2 * pool):
                x = torch.relu(self.get_submodule(f"conv{number}")(x))
            x = self.get_submodule(f"drop_pool{pool}")(max_pool2d(x, 2))
        logits: Tensor = self.head(x)
        return logits
