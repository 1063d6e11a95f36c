"""One entry for every data set: `load(name, root)` gives tensors and a digest of what was read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.datasets.preparing import Preparation

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


@lru_cache(maxsize=4)
def load(name: str, root: Path) -> Dataset:
    """Load data set `name`, from `root` (the data root) where it needs files.

    Raises EnvironmentProblem naming the file that is missing, truncated or altered, and what to do.
    """
    from benchmark.datasets import cifar, fashion_mnist, mnist, mnist1d, synthetic, tiny_imagenet

    makers: dict[str, Callable[[Path], Arrays]] = {
        "mnist": mnist.load,
        "fashion-mnist": fashion_mnist.load,
        "cifar10": cifar.load10,
        "cifar100": cifar.load100,
        "cifar100-train-20-per-class": cifar.load100_sample,
        "tiny-imagenet": tiny_imagenet.load,
        "mnist1d": mnist1d.load,
        "synthetic": synthetic.load,
    }
    train_x, train_y, test_x, test_y, digest = makers[name](root)
    return Dataset(
        name,
        torch.from_numpy(train_x),
        torch.from_numpy(train_y),
        torch.from_numpy(test_x),
        torch.from_numpy(test_y),
        int(train_y.max()) + 1,
        digest,
    )
