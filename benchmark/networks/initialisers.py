"""Initial weights, drawn in parameter order from one named stream, independent of torch's global state."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn


def fans(weight: Tensor) -> tuple[int, int]:
    """(fan in, fan out) of a linear (out, in) or convolution (out, in, h, w) weight."""
    receptive = weight[0][0].numel()
    return weight.shape[1] * receptive, weight.shape[0] * receptive


def glorot_normal(weight: Tensor, generator: Generator) -> Tensor:
    """N(0, 2 / (fan in + fan out)) (Glorot & Bengio 2010, the Gaussian form LTH uses)."""
    fan_in, fan_out = fans(weight)
    return torch.randn(weight.shape, generator=generator) * math.sqrt(2.0 / (fan_in + fan_out))


def uniform_by_fan_in(shape: torch.Size, fan_in: int, generator: Generator) -> Tensor:
    """U(-1/sqrt(fan in), 1/sqrt(fan in)), what torch.nn.Linear draws for weight and bias alike."""
    return (torch.rand(shape, generator=generator) * 2 - 1) / math.sqrt(fan_in)


def draw(module: nn.Module, weights: str, biases: str, generator: Generator) -> dict[str, Tensor]:
    """Values for every parameter of `module`, by name. `weights` and `biases` name the protocol's rules."""
    values: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        if name.endswith(".bias"):
            fan_in, _ = fans(values[name.removesuffix("bias") + "weight"])
            zeros = biases == "zeros"
            values[name] = (
                torch.zeros(parameter.shape) if zeros else uniform_by_fan_in(parameter.shape, fan_in, generator)
            )
        elif weights == "glorot-normal":
            values[name] = glorot_normal(parameter, generator)
        else:
            values[name] = uniform_by_fan_in(parameter.shape, fans(parameter)[0], generator)
    return values
