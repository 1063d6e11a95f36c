"""Which weights of a mask are of use: those on some path from an input to an output.

A mask can keep a weight into a unit that nothing leaves, or out of one that nothing reaches; such a weight changes no
output, whatever its value (but for the constant that a bias makes of it). Where no input reaches any output, the
network is disconnected and its accuracy is that of chance. That a layer is empty says less: a ResNet with empty layers
can be connected by its shortcuts, and a VGG without one be disconnected. Vysogorets & Kempe (arXiv 2107.02306) call the
share of such weights effective density.

Pixels of a channel are one unit, so paths that lead off an image's border count as paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.protocols.graph import INPUT, Edge
from benchmark.protocols.network import NetworkSpec

Bits = Mapping[str, NDArray[np.bool_]]
Units = NDArray[np.bool_]


@dataclass(frozen=True)
class Connectivity:
    """`effective`: prunable weights and biases that are kept and lie on, or feed, a path from an input to an output.

    `disconnected`: no such path exists.
    """

    effective: int
    disconnected: bool


def connectivity(network: NetworkSpec, masks: Bits) -> Connectivity:
    """Two passes over the network's edges. `masks`: of the prunable tensors; what is not among them is whole."""
    shapes = {name: shape for name, (_, shape) in network.tensors.items()}
    joined = {e.tensor: _joined(masks[e.tensor]) for e in network.edges if e.tensor is not None and e.tensor in masks}
    sizes = {INPUT: network.input_shape[0]}
    for edge in network.edges:
        sizes[edge.target] = (
            shapes[edge.tensor][0] if edge.tensor else max(sizes.get(edge.target, 0), sizes[edge.source])
        )
    forward = {name: np.full(size, name == INPUT) for name, size in sizes.items()}
    for edge in network.edges:
        forward[edge.target] |= _along(edge, joined, shapes, forward[edge.source], sizes[edge.target])
    last = network.edges[-1].target
    backward = {name: np.full(size, name == last) for name, size in sizes.items()}
    for edge in reversed(network.edges):
        backward[edge.source] |= _against(edge, joined, backward[edge.target], sizes[edge.source])
    useful = {edge.tensor: _useful(edge, masks, forward, backward) for edge in network.edges if edge.tensor in masks}
    biases = sum(
        int((masks[name] & backward[target] & forward[target]).sum())
        for name, target in _biases(network).items()
        if name in masks
    )
    return Connectivity(sum(useful.values()) + biases, not (forward[last].any()))


def _joined(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(out, in) of a weight's mask: whether any place of a kernel is kept."""
    return np.asarray(mask.reshape(*mask.shape[:2], -1).any(axis=2))


def _spread(units: Units, size: int) -> Units:
    """Channels as the inputs of a linear layer that reads all of their pixels."""
    return np.repeat(units, size // len(units))


def _gathered(units: Units, size: int) -> Units:
    """Inputs of a linear layer as channels: one that any pixel of is used."""
    return np.asarray(units.reshape(size, -1).any(axis=1))


def _along(
    edge: Edge, joined: Bits, shapes: Mapping[str, tuple[int, ...]], units: Units, size: int
) -> NDArray[np.bool_]:
    if edge.tensor is None:
        reached = np.zeros(size, bool)
        reached[: len(units)] = units
        return reached
    inputs = _spread(units, shapes[edge.tensor][1])
    if edge.tensor not in joined:
        return np.full(size, bool(inputs.any()))
    return np.asarray(joined[edge.tensor][:, inputs].any(axis=1))


def _against(edge: Edge, joined: Bits, units: Units, size: int) -> NDArray[np.bool_]:
    if edge.tensor is None:
        return units[:size]
    if edge.tensor not in joined:
        return np.full(size, bool(units.any()))
    return _gathered(np.asarray(joined[edge.tensor][units].any(axis=0)), size)


def _useful(edge: Edge, masks: Bits, forward: Mapping[str, Units], backward: Mapping[str, Units]) -> int:
    assert edge.tensor is not None  # the caller asks of masked tensors only
    mask = masks[edge.tensor]
    inputs = _spread(forward[edge.source], mask.shape[1])
    return int(mask[backward[edge.target]][:, inputs].sum())


def _biases(network: NetworkSpec) -> dict[str, str]:
    """Bias -> the units that it is added to."""
    return {
        f"{edge.tensor.removesuffix('weight')}bias": edge.target for edge in network.edges if edge.tensor is not None
    }
