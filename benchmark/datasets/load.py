"""One entry for every data set: `load(name, root)` gives tensors and a digest of what was read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from math import prod
from pathlib import Path

import torch

from benchmark.datasets.augment import Preparation
from benchmark.datasets.dataset import Arrays, Dataset
from benchmark.protocols import Protocol
from benchmark.utils.errors import BadInput


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


def prepared(protocol: Protocol, root: Path) -> Dataset:
    """Load what `protocol.data` names. Raises EnvironmentProblem, or BadInput if the fields do not fit each other."""
    spec, network = protocol.data, protocol.network
    dataset = load(spec.name, root)
    shape = dataset.input_shape
    channels = shape[0] if len(shape) == 3 else 1
    if spec.mean is not None and len(spec.mean) != channels:
        raise BadInput(
            f"{protocol.key}: data.mean", f"{spec.name} has {channels} channel(s)", "Give one value for each"
        )
    wanted = network.input_shape
    classes = network.outputs
    # A flat example can be read as an image and an image as a flat example, but not one shape of image as another.
    if prod(wanted) != prod(shape) or (len(wanted) == len(shape) and wanted != shape):
        raise BadInput(f"{protocol.key}: network", f"reads {wanted}, but {spec.name} holds {shape}", "Make them agree")
    if classes != dataset.classes:
        raise BadInput(
            f"{protocol.key}: network", f"has {classes} classes, {spec.name} {dataset.classes}", "Make them agree"
        )
    return replace(dataset, prepare=Preparation(spec.mean, spec.std, spec.augmentation))
