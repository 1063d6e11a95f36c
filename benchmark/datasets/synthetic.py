"""A tiny data set made on the spot, for tests and first tries: noisy points around ten fixed centres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.datasets.augment import Preparation
from benchmark.datasets.dataset import Dataset
from benchmark.protocols import Protocol

EXAMPLES = 20_000  # more than any cache holds, less than a second to make


def random_dataset(protocol: Protocol, examples: int = EXAMPLES) -> Dataset:
    """Random training and test examples as the protocol's data set holds them: bytes for images, else floats."""
    spec, network = protocol.data, protocol.network
    rng = np.random.default_rng(0)
    classes = network.outputs
    shape = network.input_shape
    flat = len(shape) == 1 or spec.name == "mnist"
    pixels = rng.integers(0, 256, (examples + 1000, *shape), dtype=np.uint8)
    inputs = torch.from_numpy(pixels)
    stored = inputs.reshape(len(inputs), -1).float() / 255 if flat else inputs
    labels = torch.from_numpy(rng.integers(0, classes, examples + 1000))
    prepare = Preparation(spec.mean, spec.std, spec.augmentation)
    parts = (stored[:examples], labels[:examples], stored[examples:], labels[examples:])
    return Dataset("random", *parts, classes, "random", prepare)


Arrays = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], str]


def load(root: Path) -> Arrays:  # noqa: ARG001
    """400 training and 200 test points of 12 numbers, 4 classes, the same on every machine."""
    from benchmark.datasets.dataset import digest_of

    rng = np.random.default_rng(20261121)
    centres = rng.standard_normal((4, 12))
    labels = rng.permutation(np.arange(600) % 4)
    points = (centres[labels] + 0.9 * rng.standard_normal((600, 12))).round(6).astype(np.float32)
    return points[:400], labels[:400], points[400:], labels[400:], digest_of(points, labels)
