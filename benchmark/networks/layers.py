"""Parts that several families share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from benchmark.protocols.network_rules import BatchNormSpec, DropoutSpec

_LOW = 0xFFFFFFFF


def _mixed(x: Tensor) -> Tensor:
    """32-bit words well mixed: a bijection in which every bit of the input moves every bit of the output.

    Shifts and odd multipliers, as in the finalisers of hash functions (the constants are those of Chris Wellons's
    "lowbias32", public domain). int64 holds the words; its products wrap, which leaves the low 32 bits right.
    """
    x = (x ^ (x >> 16)) * 0x7FEB352D & _LOW
    x = (x ^ (x >> 15)) * 0x846CA68B & _LOW
    return x ^ (x >> 16)


class Dropout(nn.Module):
    """Dropout whose units follow from two random words, not from a generator; the identity while there are none.

    The engine hands over words for each update (see `give_words`) and takes them away afterwards, so evaluation and
    pruners never meet a dropped unit, whatever the mode. A function of words and position only: no neighbour can
    shift a replica's units, it may be stacked with others, and a captured CUDA graph can hold it.

    `scaled`: units that are left are divided by 1 - rate. `straight`: gradients pass as if no unit had been dropped.
    """

    def __init__(self, rate: float, scaled: bool = True, straight: bool = False) -> None:
        super().__init__()
        self.rate, self.scaled, self.straight = rate, scaled, straight
        self.words: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.words is None:
            return x
        first, second = self.words.unbind()
        place = torch.arange(x.numel(), device=x.device)
        kept = _mixed(_mixed(place ^ first) ^ second) >= int(self.rate * 2**32)
        dropped = x * kept.reshape(x.shape)
        if self.scaled:
            dropped = dropped / (1 - self.rate)
        return x + (dropped - x).detach() if self.straight else dropped


def uniforms(words: Tensor, shape: Sequence[int]) -> Tensor:
    """Numbers of the unit interval, float32, of a shape: a function of two words (2,) below 2**32 and of position.

    Never the units that dropout draws from the same words.
    """
    first, second = _mixed(words + 0xFFFF & _LOW).unbind()  # no network has so many dropouts
    place = torch.arange(prod(shape), device=words.device)
    drawn = _mixed(_mixed(place ^ first) ^ second)
    return ((drawn.double() + 0.5) / 2**32).float().reshape(tuple(shape))


def dropouts(module: nn.Module) -> list[Dropout]:
    """Every dropout of a network, in order of registration."""
    return [part for part in module.modules() if isinstance(part, Dropout)]


def give_words(layers: Sequence[Dropout], words: Tensor | None) -> None:
    """Let all layers draw from two words (2,) below 2**32; each layer gets words of its own from them."""
    for number, layer in enumerate(layers):
        layer.words = None if words is None else _mixed(words + number & _LOW)


def dropout(spec: DropoutSpec | None, *places: str) -> nn.Module:
    """A dropout if the fields ask for one in any of `places`, else the identity."""
    if spec is None or spec.after not in places:
        return nn.Identity()
    return Dropout(spec.rate, spec.scaled == "units-of-training", spec.errors == "to-all-units")


def batch_norm(spec: BatchNormSpec, channels: int) -> nn.BatchNorm2d:
    """Batch normalisation of (n, channels, h, w)."""
    return nn.BatchNorm2d(channels, eps=spec.epsilon, momentum=spec.momentum)


class ImageNorm(nn.BatchNorm2d):
    """Batch norm of a network whose one example is one image: by that image's statistics in evaluation too.

    So released code of Deep Image Prior evaluates: the network stays in train mode. A network that has not been trained
    is the map of the initial statistics, mean 0 and variance 1, in evaluation: on a constant input, such as SynFlow's,
    the image's own would leave nothing.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return super().forward(x)
        assert self.num_batches_tracked is not None  # it keeps count unless told not to
        trained = self.num_batches_tracked.clamp(max=1).to(x.dtype)  # no branch: a graph may hold this
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        scale = self.weight / torch.sqrt(trained * variance + (1 - trained) + self.eps)
        shift = self.bias - trained * mean * scale
        return x * scale[:, None, None] + shift[:, None, None]


def norm_relu(norm: nn.Module, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
    """relu(norm(x) + shortcut), by the norm itself where it has that as one operation (`benchmark.training.fused`)."""
    itself = getattr(norm, "norm_relu", None)
    if itself is not None:
        fused: Tensor = itself(x, shortcut)
        return fused
    h = norm(x)
    return torch.relu(h if shortcut is None else h + shortcut)


class Head(nn.Module):
    """Linear layers fc1, fc2, ... with ReLU and dropout between them; a single one is called fc."""

    def __init__(self, widths: Sequence[int], drop: DropoutSpec | None) -> None:
        super().__init__()
        self.names = ["fc"] if len(widths) == 2 else [f"fc{i}" for i in range(1, len(widths))]
        for name, (inputs, outputs) in zip(self.names, pairwise(widths), strict=True):
            self.add_module(name, nn.Linear(inputs, outputs))
        for name in self.names[:-1]:
            self.add_module(f"drop_{name}", dropout(drop, "hidden-linear-layers", "pools-and-hidden-linear-layers"))

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(1)
        for name in self.names[:-1]:
            h = self.get_submodule(f"drop_{name}")(torch.relu(self.get_submodule(name)(h)))
        logits: Tensor = self.get_submodule(self.names[-1])(h)
        return logits
