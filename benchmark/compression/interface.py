"""What a compressor is given and what it must give; authors import it as `benchmark.api`.

A compressor replaces layers of a trained network by `CompressedLayer`s, which compute from few stored bits. Their
parameters may be trained further, in the loop that trains every network: a layer computes from its stored values
however its parameters have moved, so bits and accuracy are those of one network.

What is counted is the weights, that is the prunable tensors: 32 bits each before, `bits()` after. Biases and batch norm
stay as they are on both sides and count on neither; the analysis reports the ratio with them beside.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from benchmark.pruning.interface import Network
from benchmark.utils.errors import BadInput, BadPruner

DENSE_BITS = 32  # of a weight that nobody has compressed
WEIGHT = ".weight"


@dataclass(frozen=True)
class Work:
    """Operations for one position of a layer's output (one pixel; a linear layer has one position).

    `first`: multiply-adds of what comes before the channels are mixed; `second`: stored weights that each output
    channel adds up, (channels,); `scales`: multiplications after that.
    """

    first: int
    second: tuple[int, ...]
    scales: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.first + sum(self.second) + self.scales


class CompressedLayer(nn.Module, ABC):
    """A layer that computes from compressed weights, in training and in evaluation.

    `places`: how many numbers it could store, zeros included.
    """

    places: int

    @abstractmethod
    def bits(self) -> Mapping[str, int]:
        """Bits by what is stored: positions, signs, values, basis, scales."""

    @abstractmethod
    def work(self) -> Work:
        """What one position of its output takes, as the layer now is."""


@dataclass(frozen=True)
class LayerCost:
    """Of one layer: stored `bits`, its `work` at each of `positions` pixels of one example, and `places` for numbers,
    zeros included."""

    bits: Mapping[str, int]
    work: Work
    positions: int
    places: int = 0

    @property
    def multiply_adds(self) -> int:
        """For one example."""
        return self.positions * self.work.total


@dataclass(frozen=True)
class Compressed:
    """A compressed network. `module` reads (n, *input_shape) and may be trained further."""

    module: nn.Module
    input_shape: tuple[int, ...]

    def bits(self) -> int:
        """Bits of all weights."""
        return sum(sum(layer.bits.values()) for layer in self.layers().values())

    def multiply_adds(self) -> int:
        """For one example: all stages of all layers."""
        return sum(layer.multiply_adds for layer in self.layers().values())

    def layers(self) -> dict[str, LayerCost]:
        """Every layer with weights, by name: compressed, or as it was."""
        return {name: _cost(layer, self._positions[name]) for name, layer in weight_layers(self.module).items()}

    @cached_property
    def _positions(self) -> Mapping[str, int]:
        return output_positions(self.module, self.input_shape)


class Compressor(ABC):
    """Replaces a trained network by a cheaper one.

    Constructor: hyper-parameters, annotated bool, int, float, str or Literal, with defaults. `paper`: where the method
    was published, in words.
    """

    paper: ClassVar[str] = ""

    @abstractmethod
    def compress(self, network: Network, budget: int) -> Compressed:
        """A network that computes about what `network` does, whose weights take at most `budget` bits.

        `network` must come back as it was: `copied` gives a module to change. Raises BadInput if the method cannot
        reach the budget, saying what it can, or does not apply to the network.
        """


def copied(network: Network) -> nn.Module:
    """A module with the network's weights, to be changed: its parameters are the caller's own."""
    module = deepcopy(network.module)
    module.load_state_dict({**network.others, **network.weights})
    return module


def dense_bits(network: Network) -> int:
    """Bits of the network's weights as they are."""
    return DENSE_BITS * sum(weight.numel() for weight in network.weights.values())


def budget_for(network: Network, times: float) -> int:
    """The bits that compress the network's weights so many times. Raises BadInput unless times > 1."""
    if not times > 1:
        raise BadInput(f"compression by {times}", "is no compression", "Give a number above 1")
    return int(dense_bits(network) / times)


LayerFunction = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def layer_function(layer: nn.Module) -> LayerFunction:
    """What a linear layer or a convolution computes, as a function of its input, a weight and a bias. Raises BadInput
    for another layer."""
    if isinstance(layer, nn.Linear):
        return linear
    if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros":
        return partial(conv2d, stride=layer.stride, padding=layer.padding, dilation=layer.dilation, groups=layer.groups)
    raise BadInput(
        f"a layer of type {type(layer).__name__}", "cannot be compressed", "Leave it out of the prunable tensors"
    )


def bias_of(layer: nn.Module) -> nn.Parameter | None:
    """The bias of a linear layer or a convolution, if it has one."""
    return dict(layer.named_parameters(recurse=False)).get("bias")


def replace_layer(module: nn.Module, name: str, layer: nn.Module) -> None:
    """Put `layer` in the place of the submodule `name`."""
    owner, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(owner), leaf, layer)


def weight_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Compressed layers, convolutions and linear layers by name, in order; not what lies within a compressed one."""
    found: dict[str, nn.Module] = {}
    within: tuple[str, ...] = ()
    for name, layer in module.named_modules():
        if isinstance(layer, CompressedLayer | nn.Conv2d | nn.Linear) and not name.startswith(within):
            found[name] = layer
            within = (*within, f"{name}.")
    return found


@torch.no_grad()
def output_positions(module: nn.Module, input_shape: tuple[int, ...]) -> dict[str, int]:
    """Pixels that each weight layer computes for one example: height times width; 1 for a linear layer."""
    found: dict[str, int] = {}
    handles = []
    for name, layer in weight_layers(module).items():

        def note(_layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor, name: str = name) -> None:
            found[name] = prod(output.shape[2:])

        handles.append(layer.register_forward_hook(note))
    training = module.training
    device = next(module.parameters()).device
    module.eval()(torch.zeros(1, *input_shape, device=device))
    module.train(training)
    for handle in handles:
        handle.remove()
    return found


def _cost(layer: nn.Module, positions: int) -> LayerCost:
    if isinstance(layer, CompressedLayer):
        return LayerCost(layer.bits(), layer.work(), positions, layer.places)
    weight = layer.get_parameter("weight")
    work = Work(0, (weight[0].numel(),) * len(weight))
    return LayerCost({"values": DENSE_BITS * weight.numel()}, work, positions, weight.numel())


def compressed(name: str, compressor: Compressor, network: Network, budget: int) -> Compressed:
    """What `compressor`, called `name`, makes of `network` at a budget of so many bits.

    Raises BadInput for a budget that compresses nothing, and what the compressor raises; BadPruner if the result
    breaks the contract.
    """
    dense = dense_bits(network)
    if not 0 < budget < dense:
        raise BadInput(f"a budget of {budget} bits", f"the weights take {dense} as they are", "Give fewer, above 0")
    before: Mapping[str, Any] = {name: weight.clone() for name, weight in network.weights.items()}
    found = compressor.compress(network, budget)
    thing = f"compressor '{name}'"
    if any(not torch.equal(weight, before[key]) for key, weight in network.weights.items()):
        raise BadPruner(thing, "changed the network that it was given", "Change what `copied` gives")
    if found.bits() > budget:
        raise BadPruner(thing, f"took {found.bits()} bits of {budget}", "Keep to the budget")
    with torch.no_grad():
        outputs = found.module.eval()(torch.zeros(2, *network.input_shape))
    if outputs.shape != (2, network.classes) or not bool(outputs.isfinite().all()):
        raise BadPruner(thing, f"gave outputs of {tuple(outputs.shape)}, or not finite", "Keep the network's function")
    return found
