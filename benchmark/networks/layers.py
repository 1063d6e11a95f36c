"""Parts that several families share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

from benchmark.spec.network import BatchNormSpec, DropoutSpec


class StreamDropout(nn.Module):
    """Dropout whose masks come from `generator`, not from torch's global one; the identity while there is none.

    The engine hands over a generator for each update (see `give_stream`) and takes it away afterwards, so evaluation
    and pruners never meet a dropped unit, whatever the mode, and no neighbour can shift a replica's masks.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.generator: Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.generator is None:
            return x
        kept = torch.rand(x.shape, generator=self.generator, device=x.device) >= self.rate
        return x * kept / (1 - self.rate)


def dropouts(module: nn.Module) -> list[StreamDropout]:
    """Every dropout of a network, in order of registration."""
    return [part for part in module.modules() if isinstance(part, StreamDropout)]


def give_stream(layers: Sequence[StreamDropout], generator: Generator | None) -> None:
    """Let all layers draw from one generator, in the order in which the forward pass meets them."""
    for layer in layers:
        layer.generator = generator


def dropout(spec: DropoutSpec | None, *places: str) -> nn.Module:
    """A dropout if the fields ask for one in any of `places`, else the identity."""
    return StreamDropout(spec.rate) if spec is not None and spec.after in places else nn.Identity()


def batch_norm(spec: BatchNormSpec, channels: int) -> nn.BatchNorm2d:
    """Batch normalisation of (n, channels, h, w)."""
    return nn.BatchNorm2d(channels, eps=spec.epsilon, momentum=spec.momentum)


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
