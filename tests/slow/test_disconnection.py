"""SynFlow's panels against the authors' results without training: where magnitude masks disconnect the network.

Where no input reaches an output, accuracy is that of chance. The authors' Fig. 6 has exact chance for magnitude from
these exponents of the compression on (audit of 29 November); under version 1 of the panels, whose linear layers were
drawn by Kaiming's rule, ResNet-18's masks were never disconnected and the Tiny-ImageNet VGGs' at 2.25.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmark.harness.start import initial_weights
from benchmark.protocols import Protocol, load
from benchmark.pruning.connectivity import connectivity

CHANCE_FROM = {
    "synflow/resnet18-cifar10": (1.25,),
    "synflow/resnet18-cifar100": (1.25,),
    "synflow/resnet18-tiny": (1.25,),
    "synflow/vgg11-tiny": (1.0, 1.25, 1.5),
    "synflow/vgg16-tiny": (1.0, 1.25, 1.5),
    "synflow/vgg11-cifar10": (2.5, 2.75),
    "synflow/vgg16-cifar100": (2.5, 2.75),
}


def disconnected_from(protocol: Protocol, seed: int) -> float | None:
    """Exponent of the first compression at which a magnitude mask has no path."""
    state, shapes = initial_weights(protocol, seed), protocol.pruning.prunable
    flat = torch.cat([state[name].abs().flatten() for name in shapes]).numpy()
    for number, level in enumerate(protocol.level_table[1:], start=1):
        lowest = np.partition(flat, len(flat) - level.kept)[len(flat) - level.kept]
        parts = np.split(flat >= lowest, np.cumsum([int(np.prod(shape)) for shape in shapes.values()])[:-1])
        masks = {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        if connectivity(protocol.network, masks).disconnected:
            return number / 4
    return None


@pytest.mark.long
@pytest.mark.parametrize("name", CHANCE_FROM)
def test_magnitude_masks_disconnect_where_the_authors_are_at_chance(name: str) -> None:
    protocol = load(name)
    assert {disconnected_from(protocol, seed) for seed in protocol.seeds} <= set(CHANCE_FROM[name])
