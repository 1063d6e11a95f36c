"""From a protocol's network fields to a module, checked against the tensors the protocol calls prunable."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from benchmark.errors import BadInput
from benchmark.networks.initialisers import draw
from benchmark.networks.mlp import Mlp, ResidualMlp
from benchmark.protocol import NetworkSpec, Protocol

FAMILIES: dict[str, type[Mlp]] = {"lenet-300-100": Mlp, "mlp": Mlp, "residual-mlp": ResidualMlp}


def build(protocol: Protocol) -> Mlp:
    """The protocol's network with undefined weights. Raises BadInput if `pruning.prunable` does not fit it."""
    with torch.device("cpu"):
        module = FAMILIES[protocol.network.name](protocol.network.widths)
    shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    for name, shape in protocol.pruning.prunable.items():
        if shapes.get(name) != shape:
            raise BadInput(
                f"{protocol.key}: pruning.prunable.{name}",
                f"the protocol says {shape}, the network has {shapes.get(name, 'no such tensor')}",
                "Name the network's own tensors and shapes",
            )
    return module


def initial_state(module: nn.Module, spec: NetworkSpec, generator: Generator) -> dict[str, Tensor]:
    """Initial values of every parameter, a function of the generator's seed alone."""
    return draw(module, spec.initialiser, spec.bias, generator)
