"""From a protocol's network fields to a module, checked against the tensors the protocol calls prunable.

Networks by the fields of a protocol, and their initial weights by seed.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from benchmark.networks.conv import Conv
from benchmark.networks.init import Rules, draw
from benchmark.networks.lenet5 import LeNet5
from benchmark.networks.mlp import Mlp, ResidualMlp
from benchmark.networks.resnet import ResNet
from benchmark.networks.vgg import Vgg
from benchmark.protocols import Protocol
from benchmark.protocols.network import ConvSpec, LeNet5Spec, MlpSpec, NetworkSpec, VggSpec
from benchmark.utils.errors import BadInput


def make(spec: NetworkSpec) -> nn.Module:
    """The network that the fields name, on the CPU, with undefined weights."""
    with torch.device("cpu"):
        if isinstance(spec, MlpSpec):
            return (ResidualMlp if spec.name == "residual-mlp" else Mlp)(spec.widths)
        if isinstance(spec, LeNet5Spec):
            return LeNet5(spec)
        if isinstance(spec, ConvSpec):
            return Conv(spec)
        return Vgg(spec) if isinstance(spec, VggSpec) else ResNet(spec)


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


def initial_state(module: nn.Module, spec: NetworkSpec, generator: Generator) -> dict[str, Tensor]:
    """Initial values of every parameter and buffer, a function of the generator's seed alone."""
    return draw(module, Rules.of(spec), generator)
