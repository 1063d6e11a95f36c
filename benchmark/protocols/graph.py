"""What networks are put together from: tensors of their layers, and how their units are joined. No torch.

For measures of masks: units are channels of convolutions and units of linear layers; pixels of a channel are one unit,
so a weight joins two units wherever it is in its kernel. A network is a list of edges in the order of its forward pass,
from one set of units to another; several edges into one set are summed, as at the end of a residual block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import Final, Literal

from benchmark.utils.strict_model import Frozen

INPUT: Final = "input"

Shapes = dict[str, tuple[int, ...]]
Kind = Literal["convolution", "shortcut", "linear", "bias", "norm"]
Tensors = dict[str, tuple[Kind, tuple[int, ...]]]
"""Name -> (kind, shape) of every tensor but batch norm's, in the order of the module's parameters.

Of image generators, whose batch norms are pruned too, batch norm's scales and shifts are there as well: kind norm.
"""
Positions = dict[str, int]
"""Name of a tensor of weights -> how often one example uses each of them: once in a linear layer, in a convolution for
every pixel of its output."""


class Layered(Frozen):
    """What each family of networks states of its layers."""

    @cached_property
    def tensors(self) -> Tensors:
        """See `Tensors`."""
        raise NotImplementedError

    @cached_property
    def positions(self) -> Positions:
        """See `Positions`: of all weights that multiply; batch norm's and biases do not count."""
        raise NotImplementedError

    @cached_property
    def multiply_adds(self) -> int:
        """Multiplications of one forward pass of one example."""
        tensors = self.tensors
        return sum(prod(tensors[name][1]) * times for name, times in self.positions.items())


@dataclass(frozen=True)
class Edge:
    """From the units `source` to the units `target`: by the weights of `tensor`, or, if None, each unit to the unit of
    its number (a shortcut; target units beyond those of the source get nothing)."""

    source: str
    target: str
    tensor: str | None = None


def sequence(tensors: Iterable[str]) -> tuple[Edge, ...]:
    """Edges of weights, one after another; the units that a weight leads to are named after it."""
    edges: list[Edge] = []
    for name in tensors:
        edges.append(Edge(edges[-1].target if edges else INPUT, name, name))
    return tuple(edges)


def weight_names(tensors: Tensors) -> list[str]:
    """Names of the tensors that are no biases."""
    return [name for name, (kind, _) in tensors.items() if kind != "bias"]


def convolution_tensors(name: str, shape: tuple[int, ...], bias: bool, kind: Kind = "convolution") -> Tensors:
    """A convolution's, `shape` (out, in, height, width), with its bias if it has one."""
    own: Tensors = {f"{name}.weight": (kind, shape)}
    return {**own, f"{name}.bias": ("bias", shape[:1])} if bias else own


def linear_tensors(prefix: str, widths: tuple[int, ...]) -> Tensors:
    """Linear layers' of these widths, input first, each with a bias; numbered, but for a head of one layer."""
    tensors: Tensors = {}
    for number, (inputs, outputs) in enumerate(pairwise(widths), start=1):
        name = prefix if len(widths) == 2 and prefix.startswith("head") else f"{prefix}{number}"
        tensors[f"{name}.weight"] = ("linear", (outputs, inputs))
        tensors[f"{name}.bias"] = ("bias", (outputs,))
    return tensors


def head_tensors(widths: tuple[int, ...]) -> Tensors:
    """A head's: linear layers of these widths, input first."""
    return linear_tensors("head.fc", widths)


def grouped_tensors(groups: tuple[tuple[int, ...], ...], channels: int, bias: bool) -> Tensors:
    """Those of 3x3 convolutions in groups, of these widths, on so many channels."""
    tensors: Tensors = {}
    for number, width in enumerate((width for group in groups for width in group), start=1):
        tensors |= convolution_tensors(f"conv{number}", (width, channels, 3, 3), bias)
        channels = width
    return tensors


def linear_positions(tensors: Tensors) -> Positions:
    """Of all linear layers."""
    return {name: 1 for name, (kind, _) in tensors.items() if kind == "linear"}


def grouped_positions(size: tuple[int, int, int], groups: tuple[tuple[int, ...], ...]) -> Positions:
    """Of 3x3 convolutions in groups with 2x2 pools between, on an image (channels, height, width)."""
    (_, height, width), found = size, Positions()
    for group in groups:
        for _ in group:
            found[f"conv{len(found) + 1}.weight"] = height * width
        height, width = height // 2, width // 2
    return found
