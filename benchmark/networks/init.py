"""Initial values, drawn in parameter order from one named stream, independent of torch's global state."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from benchmark.protocols.network import ImageNetworkSpec, MlpSpec


@dataclass(frozen=True)
class Rules:
    """Names of the rules for each kind of tensor; `scale` is batch norm's, whose shift starts at 0."""

    convolution: str
    linear: str
    bias: str
    scale: Literal["ones", "uniform-0-1"] = "ones"

    @staticmethod
    def of(spec: MlpSpec | ImageNetworkSpec) -> Rules:
        """The rules that a protocol's network fields name."""
        if isinstance(spec, MlpSpec):
            return Rules(spec.initialiser, spec.initialiser, spec.bias)
        norm = getattr(spec, "batch_norm", None)
        return Rules(spec.initialiser, spec.linear_initialiser, spec.bias, "ones" if norm is None else norm.scale)


def fans(weight: Tensor) -> tuple[int, int]:
    """(fan in, fan out) of a linear (out, in) or convolution (out, in, h, w) weight."""
    receptive = weight[0][0].numel()
    return weight.shape[1] * receptive, weight.shape[0] * receptive


def uniform_by_fan_in(shape: torch.Size, fan_in: int, generator: Generator) -> Tensor:
    """U(-1/sqrt(fan in), 1/sqrt(fan in)), what torch.nn.Linear and Conv2d draw for weight and bias alike."""
    return (torch.rand(shape, generator=generator) * 2 - 1) / math.sqrt(fan_in)


def deviation(rule: str, weight: Tensor) -> float:
    """Standard deviation of a rule that draws normal weights.

    glorot-normal: sqrt(2 / (fan in + fan out)) (Glorot & Bengio 2010, the Gaussian form LTH uses).
    kaiming-normal-fan-in, -fan-out: sqrt(2 / fan), for ReLU (He et al. 2015, arXiv 1502.01852).
    normal-std-0.01: 0.01, the classifier of VGG's and GraSP's code.
    """
    fan_in, fan_out = fans(weight)
    return {
        "glorot-normal": math.sqrt(2.0 / (fan_in + fan_out)),
        "kaiming-normal-fan-in": math.sqrt(2.0 / fan_in),
        "kaiming-normal-fan-out": math.sqrt(2.0 / fan_out),
        "normal-std-0.01": 0.01,
    }[rule]


def drawn_weight(rule: str, weight: Tensor, generator: Generator) -> Tensor:
    """A linear or convolution weight by `rule`; KeyError if there is none of that name."""
    if rule in ("pytorch-linear", "pytorch-uniform"):
        return uniform_by_fan_in(weight.shape, fans(weight)[0], generator)
    return torch.randn(weight.shape, generator=generator) * deviation(rule, weight)


def draw(module: nn.Module, rules: Rules, generator: Generator) -> dict[str, Tensor]:
    """Values for every parameter and buffer of `module`, by name."""
    values: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        owner = module.get_submodule(name.rpartition(".")[0])
        if isinstance(owner, nn.BatchNorm2d):
            if name.endswith("bias"):
                values[name] = torch.zeros(parameter.shape)
            else:
                ones = rules.scale == "ones"
                values[name] = torch.ones(parameter.shape) if ones else torch.rand(parameter.shape, generator=generator)
        elif name.endswith(".bias"):
            fan_in, _ = fans(values[name.removesuffix("bias") + "weight"])
            zeros = rules.bias == "zeros"
            values[name] = (
                torch.zeros(parameter.shape) if zeros else uniform_by_fan_in(parameter.shape, fan_in, generator)
            )
        else:
            rule = rules.linear if isinstance(owner, nn.Linear) else rules.convolution
            values[name] = drawn_weight(rule, parameter, generator)
    for name, buffer in module.named_buffers():  # batch norm's: variance 1, mean and number of batches 0
        values[name] = torch.ones_like(buffer) if name.endswith("running_var") else torch.zeros_like(buffer)
    return values
