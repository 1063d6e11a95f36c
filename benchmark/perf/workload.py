"""What is trained for timing: a protocol's network and recipe, on random examples of its data's shape.

Speed does not depend on what the pixels show, so no data set has to be there; whatever is reported names no accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from benchmark.datasets.dataset import Dataset, Split, random_dataset
from benchmark.networks import build, initial_state, make
from benchmark.protocols import Protocol
from benchmark.protocols.recipe import Recipe
from benchmark.pruning.interface import Masks
from benchmark.training.replicas import Replica
from benchmark.utils.seeding import stream

DENSITY = 0.2  # every loop keeps pruned weights at zero
LAST_STEP = 300_000  # more updates than are timed


@dataclass(frozen=True)
class Workload:
    """A protocol with random data, and replicas of its network to train."""

    protocol: Protocol
    dataset: Dataset

    @staticmethod
    def of(protocol: Protocol) -> Workload:
        """Make the data."""
        return Workload(protocol, random_dataset(protocol))

    @property
    def recipe(self) -> Recipe:
        """The protocol's, with updates without end."""
        return self.protocol.recipe

    def module(self, inputs: int | None) -> nn.Module:
        """The protocol's network, untrained; an MLP may read only `inputs` features (None: all)."""
        return build(self.protocol) if inputs is None else make(self.protocol.network.reading(inputs))

    def masks(self, seed: int) -> Masks:
        """A random fifth of every prunable tensor."""
        rng = torch.Generator().manual_seed(seed)
        return {n: torch.rand(shape, generator=rng) < DENSITY for n, shape in self.protocol.pruning.prunable.items()}

    def replica(self, seed: int) -> Replica:
        """One network with its own weights, mask and order."""
        start = initial_state(build(self.protocol), self.protocol.network, stream(seed, "init"))
        rows = torch.arange(len(self.dataset.train_labels))
        return Replica(seed, start, self.masks(seed), Split(rows, rows[:0]), LAST_STEP)

    def as_bytes(self) -> Dataset:
        """The data with inputs as bytes, as torchvision's data sets hold them."""
        inputs = self.dataset.train_inputs
        pixels = (inputs * 255).to(torch.uint8) if inputs.is_floating_point() else inputs
        return replace(self.dataset, train_inputs=pixels)
