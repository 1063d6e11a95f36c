"""A data set in memory: examples with labels, split into training and test, and its digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from benchmark.datasets.augment import Preparation


@dataclass(frozen=True)
class Examples:
    """Training examples for scoring. `inputs`: (n, *input shape), float; `labels`: (n,), int64."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.inputs)


Arrays = tuple[NDArray[Any], NDArray[np.int64], NDArray[Any], NDArray[np.int64], str]
"""Training inputs and labels, test inputs and labels, digest of what was read."""


@dataclass(frozen=True)
class Dataset:
    """Training and test parts in memory. Inputs (n, *shape), float32 or, for images, uint8; labels (n,) int64.

    `prepare` turns stored inputs into what networks read; as loaded it only makes bytes floats in [0, 1].
    """

    name: str
    train_inputs: Tensor
    train_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    classes: int
    digest: str
    prepare: Preparation = field(default_factory=Preparation)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return tuple(self.train_inputs.shape[1:])


def digest_of(*arrays: NDArray[np.generic]) -> str:
    """sha256 over shapes and little-endian bytes."""
    digest = hashlib.sha256()
    for array in arrays:
        little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{array.dtype.kind}{array.shape}".encode() + little.tobytes())
    return digest.hexdigest()
