"""What is trained for timing: a protocol's network and recipe, on random examples of its data's shape.

Speed does not depend on what the pixels show, so no data set has to be there; whatever is reported names no accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmark.api import Masks
from benchmark.datasets import Dataset, Split
from benchmark.datasets.preparing import Preparation
from benchmark.networks import build, initial_state
from benchmark.protocol import Protocol, Recipe
from benchmark.spec.network import MlpSpec
from benchmark.streams import stream
from benchmark.training import Replica

EXAMPLES = 20_000  # more than any cache holds, less than a second to make
DENSITY = 0.2  # masked like a ticket: every loop keeps pruned weights at zero
LAST_STEP = 300_000  # more updates than anybody times


def random_dataset(protocol: Protocol, examples: int = EXAMPLES) -> Dataset:
    """Random training and test examples as the protocol's data set holds them: bytes for images, else floats."""
    spec, network = protocol.data, protocol.network
    rng = np.random.default_rng(0)
    classes = network.widths[-1] if isinstance(network, MlpSpec) else network.classes
    shape = (network.widths[0],) if isinstance(network, MlpSpec) else network.input
    flat = isinstance(network, MlpSpec) or spec.name == "mnist"
    pixels = rng.integers(0, 256, (examples + 1000, *shape), dtype=np.uint8)
    inputs = torch.from_numpy(pixels)
    stored = inputs.reshape(len(inputs), -1).float() / 255 if flat else inputs
    labels = torch.from_numpy(rng.integers(0, classes, examples + 1000))
    prepare = Preparation(spec.mean, spec.std, spec.augmentation)
    parts = (stored[:examples], labels[:examples], stored[examples:], labels[examples:])
    return Dataset("random", *parts, classes, "random", prepare)


@dataclass(frozen=True)
class Subject:
    """A protocol with random data, and replicas of its network to train."""

    protocol: Protocol
    dataset: Dataset

    @staticmethod
    def of(protocol: Protocol) -> Subject:
        """Make the data."""
        return Subject(protocol, random_dataset(protocol))

    @property
    def recipe(self) -> Recipe:
        """The protocol's, with updates without end."""
        return self.protocol.recipe

    def masks(self, seed: int) -> Masks:
        """A random fifth of every prunable tensor."""
        rng = torch.Generator().manual_seed(seed)
        return {n: torch.rand(shape, generator=rng) < DENSITY for n, shape in self.protocol.pruning.prunable.items()}

    def replica(self, seed: int) -> Replica:
        """One network with its own weights, mask and order."""
        start = initial_state(build(self.protocol), self.protocol.network, stream(seed, "init"))
        rows = torch.arange(len(self.dataset.train_labels))
        return Replica(seed, start, self.masks(seed), Split(rows, rows[:0]), LAST_STEP)

    def as_pictures(self) -> Dataset:
        """The data as bytes, as a Dataset of torchvision's would hand them out."""
        inputs = self.dataset.train_inputs
        pixels = (inputs * 255).to(torch.uint8) if inputs.is_floating_point() else inputs
        return replace(self.dataset, train_inputs=pixels)
