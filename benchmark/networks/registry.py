"""From a protocol's network fields to a module, and its initial values by seed.

Initial values are drawn in parameter order from one named stream, independent of torch's global state. A family's
module is registered in `benchmark/networks/<family>.py` and imported when a protocol first names it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn

from benchmark.networks.planted import TICKETS, plant
from benchmark.protocols import Protocol
from benchmark.protocols.network import MlpSpec, NetworkSpec
from benchmark.protocols.network_rules import InitialRules
from benchmark.utils.errors import BadInput
from benchmark.utils.registry import Registry
from benchmark.utils.seeding import portable_normals

Arithmetic = Literal["torch", "portable"]
Normals = Callable[..., Tensor]
"""(shape, generator=...) to standard normal numbers."""

FAMILIES: Registry[Callable[[Any], nn.Module]] = Registry(
    "network family", "benchmark.networks", besides=("layers", "planted", "registry")
)
"""Name in a spec's `family` -> what makes the module of such a spec, with undefined weights."""


def make(spec: NetworkSpec) -> nn.Module:
    """The network that the fields name, on the CPU, with undefined weights."""
    with torch.device("cpu"):
        return FAMILIES.get(spec.family)(spec)


def build(protocol: Protocol) -> nn.Module:
    """The protocol's network with undefined weights. Raises BadInput if `pruning.prunable` does not fit it."""
    module = make(protocol.network)
    shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    for name, shape in protocol.pruning.prunable.items():
        if shapes.get(name) != shape:
            raise BadInput(
                f"{protocol.key}: pruning.prunable.{name}",
                f"the protocol says {shape}, the network has {shapes.get(name, 'no such tensor')}",
                "Name the network's own tensors and shapes",
            )
    # Equal scores are cut in this order, and the digest of a protocol does not see the order of its keys.
    own = [name for name in shapes if name in protocol.pruning.prunable]
    if list(protocol.pruning.prunable) != own:
        raise BadInput(
            f"{protocol.key}: pruning.prunable", "is not in the network's own order", f"Write {', '.join(own)}"
        )
    return module


def initial_state(
    module: nn.Module, spec: NetworkSpec, generator: Generator, arithmetic: Arithmetic = "torch"
) -> dict[str, Tensor]:
    """Initial values of every parameter and buffer, a function of the generator's seed alone.

    torch's normal numbers differ between instruction sets in the last bit; with `portable` arithmetic they do not.
    """
    normals = torch.randn if arithmetic == "torch" else portable_normals
    values = draw(module, spec.initial_rules, generator, normals)
    if isinstance(spec, MlpSpec) and spec.planted:
        values, _ = plant(values, TICKETS[spec.planted]())
    return values


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
    lecun-normal: sqrt(1 / fan in) (LeCun et al. 1998), TensorFlow's default in variance scaling, as in SNIP's code.
    normal-std-0.01: 0.01, the classifier of VGG's and GraSP's code. normal-std-0.1: 0.1, every layer of SET's code.
    """
    fan_in, fan_out = fans(weight)
    return {
        "glorot-normal": math.sqrt(2.0 / (fan_in + fan_out)),
        "kaiming-normal-fan-in": math.sqrt(2.0 / fan_in),
        "kaiming-normal-fan-out": math.sqrt(2.0 / fan_out),
        "lecun-normal": math.sqrt(1.0 / fan_in),
        "normal-std-0.01": 0.01,
        "normal-std-0.1": 0.1,
    }[rule]


def drawn_weight(rule: str, weight: Tensor, generator: Generator, normals: Normals = torch.randn) -> Tensor:
    """A linear or convolution weight by `rule`; KeyError if there is none of that name."""
    if rule in ("pytorch-linear", "pytorch-uniform"):
        return uniform_by_fan_in(weight.shape, fans(weight)[0], generator)
    if rule == "glorot-uniform":  # U(-a, a), a^2 = 6 / (fan in + fan out): Glorot & Bengio 2010, equation 16
        return (torch.rand(weight.shape, generator=generator) * 2 - 1) * math.sqrt(6.0 / sum(fans(weight)))
    return normals(weight.shape, generator=generator) * deviation(rule, weight)


def draw(
    module: nn.Module, rules: InitialRules, generator: Generator, normals: Normals = torch.randn
) -> dict[str, Tensor]:
    """Values for every parameter and buffer of `module`, by name.

    Biases by `normal-by-depth` have the deviation prod sqrt(2 / fan in) over the layers down to their own, so that a
    chain of kaiming-normal-fan-in scales them as it scales its input (arXiv 2111.11153, Theorem 2, and its code).
    """
    values: dict[str, Tensor] = {}
    growth = 1.0
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
            growth *= math.sqrt(2.0 / fan_in)
            if rules.bias == "zeros":
                values[name] = torch.zeros(parameter.shape)
            elif rules.bias == "normal-by-depth":
                values[name] = normals(parameter.shape, generator=generator) * growth
            else:
                values[name] = uniform_by_fan_in(parameter.shape, fan_in, generator)
        else:
            rule = rules.linear if isinstance(owner, nn.Linear) else rules.convolution
            values[name] = drawn_weight(rule, parameter, generator, normals)
    for name, buffer in module.named_buffers():  # batch norm's: variance 1, mean and number of batches 0
        values[name] = torch.ones_like(buffer) if name.endswith("running_var") else torch.zeros_like(buffer)
    return values
