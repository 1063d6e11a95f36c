"""Shapes of a network's weights, from its fields alone. No torch: protocols are read without it.

`benchmark.networks` builds the same tensors, and tests hold the two together.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Literal

from benchmark.spec.network import ConvSpec, LeNet5Spec, MlpSpec, NetworkSpec, ResNetSpec, VggSpec

Shapes = dict[str, tuple[int, ...]]
Kind = Literal["convolution", "shortcut", "linear", "bias"]
Tensors = dict[str, tuple[Kind, tuple[int, ...]]]

SETS: dict[str, tuple[Kind, ...]] = {
    "weights": ("convolution", "shortcut", "linear"),
    "weights-and-biases": ("convolution", "shortcut", "linear", "bias"),
    "convolutions": ("convolution",),
}
"""What `pruning.prunable` may name instead of listing tensors; batch norm's are never among them.

`convolutions` leaves out the 1x1 convolutions of shortcuts, as The Lottery Ticket Hypothesis does.
"""


def prunable(network: NetworkSpec, chosen: str) -> Shapes:
    """Name and shape of every tensor of one of the `SETS`, in the network's own order. KeyError for another name."""
    kinds = SETS[chosen]
    return {name: shape for name, (kind, shape) in _tensors(network).items() if kind in kinds}


def _tensors(network: NetworkSpec) -> Tensors:
    if isinstance(network, MlpSpec):
        return _linear("fc", network.widths)
    if isinstance(network, ResNetSpec):
        return _resnet(network)
    if isinstance(network, LeNet5Spec):
        first = _convolution("conv1", (20, network.input[0], 5, 5), True)
        return {**first, **_convolution("conv2", (50, 20, 5, 5), True), **_head((network.flat, 500, network.classes))}
    if isinstance(network, ConvSpec):
        side = 2 ** len(network.groups)
        flat = network.groups[-1][-1] * (network.input[1] // side) * (network.input[2] // side)
        return {**_grouped(network.groups, network.input[0], True), **_head((flat, 256, 256, network.classes))}
    assert isinstance(network, VggSpec)
    return {**_grouped(network.groups, network.input[0], network.convolution_bias), **_head(network.head)}


def _convolution(name: str, shape: tuple[int, ...], bias: bool, kind: Kind = "convolution") -> Tensors:
    own: Tensors = {f"{name}.weight": (kind, shape)}
    return {**own, f"{name}.bias": ("bias", shape[:1])} if bias else own


def _linear(prefix: str, widths: tuple[int, ...]) -> Tensors:
    found: Tensors = {}
    for number, (inputs, outputs) in enumerate(pairwise(widths), start=1):
        name = prefix if len(widths) == 2 and prefix.startswith("head") else f"{prefix}{number}"
        found[f"{name}.weight"] = ("linear", (outputs, inputs))
        found[f"{name}.bias"] = ("bias", (outputs,))
    return found


def _head(widths: tuple[int, ...]) -> Tensors:
    return _linear("head.fc", widths)


def _grouped(groups: tuple[tuple[int, ...], ...], channels: int, bias: bool) -> Tensors:
    found: Tensors = {}
    for number, width in enumerate((width for group in groups for width in group), start=1):
        found |= _convolution(f"conv{number}", (width, channels, 3, 3), bias)
        channels = width
    return found


def _resnet(network: ResNetSpec) -> Tensors:
    channels, kernel = network.stages[0][0], network.stem.kernel
    found = _convolution("conv", (channels, network.input[0], kernel, kernel), False)
    for number, (width, blocks) in enumerate(network.stages, start=1):
        for position in range(1, blocks + 1):
            block = f"stage{number}.block{position}"
            changes = channels != width or (number > 1 and position == 1)
            found |= _convolution(f"{block}.conv1", (width, channels, 3, 3), False)
            found |= _convolution(f"{block}.conv2", (width, width, 3, 3), False)
            if changes and network.shortcut == "convolution":
                found |= _convolution(f"{block}.shortcut", (width, channels, 1, 1), False, "shortcut")
            channels = width
    return {**found, "fc.weight": ("linear", (network.classes, channels)), "fc.bias": ("bias", (network.classes,))}


def count(shapes: Shapes) -> int:
    """Weights in all tensors."""
    return sum(prod(shape) for shape in shapes.values())
