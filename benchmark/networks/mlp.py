"""Fully connected networks. Modules are named fc1, fc2, ... from the input on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from benchmark.networks.layers import dropout, dropouts
from benchmark.networks.registry import FAMILIES
from benchmark.protocols.network import MlpSpec
from benchmark.protocols.network_rules import DropoutSpec


class Mlp(nn.Module):
    """Linear layers with ReLU between them: LeNet-300-100 is widths (784, 300, 100, 10).

    Input (n, ...), flattened to (n, widths[0]); output (n, widths[-1]) logits.
    """

    input_weight = "fc1.weight"  # the matrix that reads the flat input, column i <-> input i

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.depth = len(widths) - 1
        for i, (inputs, outputs) in enumerate(pairwise(widths), start=1):
            self.add_module(f"fc{i}", nn.Linear(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(1)
        for i in range(1, self.depth):
            h = torch.relu(self.get_submodule(f"fc{i}")(h))
        logits: Tensor = self.get_submodule(f"fc{self.depth}")(h)
        return logits


class DropoutMlp(Mlp):
    """An `Mlp` with dropout behind every hidden layer, in one of the forms of `DropoutSpec`."""

    def __init__(self, widths: Sequence[int], drop: DropoutSpec) -> None:
        super().__init__(widths)
        self.late = drop.scaled == "pre-activations-of-evaluation"
        self.rest = 1 - drop.rate
        for i in range(1, self.depth):
            self.add_module(f"drop{i}", dropout(drop, "hidden-linear-layers"))

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(1)
        for i in range(1, self.depth):
            h = self.get_submodule(f"drop{i}")(torch.relu(self._layer(i, h)))
        return self._layer(self.depth, h)

    def _layer(self, i: int, h: Tensor) -> Tensor:
        """Pre-activations (n, units) of layer i; see `DropoutSpec.scaled`. Without words, nothing is being dropped."""
        z: Tensor = self.get_submodule(f"fc{i}")(h)
        if not self.late or i == 1 or dropouts(self)[0].words is not None:
            return z
        return z * self.rest


class ResidualMlp(Mlp):
    """MNIST-1D's MLP: h = relu(W1 x + b1); h = h + relu(W2 h + b2); logits = W3 h + b3 (arXiv 2011.14439)."""

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.get_submodule("fc1")(x.flatten(1)))
        for i in range(2, self.depth):
            h = h + torch.relu(self.get_submodule(f"fc{i}")(h))
        logits: Tensor = self.get_submodule(f"fc{self.depth}")(h)
        return logits


@FAMILIES.register("mlp")
def make(spec: MlpSpec) -> Mlp:
    """The network of a protocol: `residual-mlp` has shortcuts, the others have none."""
    if spec.dropout:
        return DropoutMlp(spec.widths, spec.dropout)
    return (ResidualMlp if spec.name == "residual-mlp" else Mlp)(spec.widths)
