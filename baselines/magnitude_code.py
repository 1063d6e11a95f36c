"""Magnitude pruning as a compressor: what is left is stored one by one. Han et al. 2016, arXiv 1510.00149, the idea."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from benchmark.api import (
    BadInput,
    Code,
    Compressed,
    CompressedLayer,
    Compressor,
    Network,
    Work,
    bias_of,
    copied,
    filled,
    keep_top,
    layer_function,
    replace_layer,
    straight_through,
)

STEP_BITS = 32


class SparseLayer(CompressedLayer):
    """w * m, with w in equal steps around 0; m stays as it is made, w is trained straight through the steps."""

    def __init__(self, layer: nn.Module, mask: Tensor, code: Code) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.get_parameter("weight").detach() * mask)
        self.register_buffer("mask", mask)
        self.places = mask.numel()
        self.function, self.bias, self.code = layer_function(layer), bias_of(layer), code

    def stored(self) -> Tensor:
        """The weights that compute; differentiable where the mask keeps them."""
        mask = self.get_buffer("mask")
        left = self.weight * mask
        if self.code.value_bits == 32:
            return left
        step = left.detach().abs().max() / (2 ** (self.code.value_bits - 1) - 1)
        rounded = torch.round(left.detach() / step.clamp(min=1e-30)) * step
        return straight_through(left, rounded)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.stored(), self.bias)

    def bits(self) -> Mapping[str, int]:
        """See `CompressedLayer`."""
        mask = self.get_buffer("mask")
        step = {} if self.code.value_bits == 32 else {"scales": STEP_BITS}
        return {**self.code.bits(self.places, int(mask.sum())), **step}

    def work(self) -> Work:
        """See `CompressedLayer`: a multiply-add for each weight that is left."""
        return Work(0, tuple(self.get_buffer("mask").flatten(1).sum(1).tolist()))


class MagnitudeCode(Compressor):
    """The weights of largest magnitude in the whole network, as many as the budget pays for.

    Bits: `positions` of the weights, `precision` bits for the value of each; at 32 they are floats, below that equal
    steps whose size is stored for each layer.
    """

    paper = "magnitude: Han et al. 2015, arXiv 1506.02626; stored with few bits: Han et al. 2016, arXiv 1510.00149"

    def __init__(self, positions: Literal["entropy", "bitmap"] = "bitmap", precision: int = 32) -> None:
        if not (precision == 32 or 2 <= precision <= 16):
            raise ValueError(f"precision {precision}: 2 to 16, or 32 for floats")
        self.code = Code(positions, precision)

    def compress(self, network: Network, budget: int) -> Compressed:
        """See `Compressor`."""
        module = copied(network)
        scores = {name: weight.abs() for name, weight in network.weights.items()}
        step = 0 if self.code.value_bits == 32 else STEP_BITS

        def cost(kept: Mapping[str, int]) -> int:
            return sum(step + sum(self.code.bits(scores[name].numel(), n).values()) for name, n in kept.items())

        counts = filled(scores, self.code, cost, budget)
        if counts is None:
            least = cost(dict.fromkeys(scores, 1))
            raise BadInput(f"a budget of {budget} bits", f"a {self.code.positions} of the weights alone needs {least}",
                           "Compress less, or set positions: entropy")  # fmt: skip
        for name, score in scores.items():
            layer = module.get_submodule(name.removesuffix(".weight"))
            (mask,) = keep_top([score], counts[name])
            replace_layer(module, name.removesuffix(".weight"), SparseLayer(layer, mask, self.code))
        return Compressed(module, network.input_shape)
