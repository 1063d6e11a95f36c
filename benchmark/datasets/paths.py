"""Where data sets lie, and whether they are there: answered without reading them and without torch."""

from __future__ import annotations

import os
from pathlib import Path

MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
CIFAR10_FILES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
CIFAR100_FILES = ("train", "test")
TINY_IMAGENET_LISTS = ("wnids.txt", "val/val_annotations.txt")

# data set -> ways to hold it; a way is there if all its files are. Torchvision's layout first.
WAYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "cifar10": (tuple(f"cifar-10-batches-py/{name}" for name in CIFAR10_FILES), ("cifar10.lsxz",)),
    "cifar100": (tuple(f"cifar-100-python/{name}" for name in CIFAR100_FILES),),
    "fashion-mnist": (tuple(f"FashionMNIST/raw/{name}.gz" for name in MNIST_FILES),),
    "tiny-imagenet": (("tiny-imagenet-200.zip",), tuple(f"tiny-imagenet-200/{name}" for name in TINY_IMAGENET_LISTS)),
    "cifar100-train-20-per-class": (
        ("cifar100-train-20-per-class.npz",),
        tuple(f"cifar-100-python/{name}" for name in CIFAR100_FILES),  # of which the sample is cut out
    ),
}


def cache_root() -> Path:
    """The user's own folder for data: what was downloaded or restored from a compact form."""
    return Path.home() / ".cache" / "lotterybench" / "data"


def data_root() -> Path:
    """$LOTTERYBENCH_DATA, else a cache folder of the user's."""
    given = os.environ.get("LOTTERYBENCH_DATA")
    return Path(given) if given else cache_root()


def mnist_present(root: Path) -> bool:
    """Whether all four MNIST files are there, packed or not."""
    folder = root / "MNIST" / "raw"
    return all((folder / f"{name}.gz").exists() or (folder / name).exists() for name in MNIST_FILES)


def way_present(data_set: str, number: int, root: Path) -> bool:
    """Whether all files of one of the `WAYS` are under `root`."""
    return all((root / name).exists() for name in WAYS[data_set][number])


def needs_download(data_set: str, root: Path) -> bool:
    """Whether `data_set` has to be fetched before it can be used."""
    if data_set == "mnist":
        return not mnist_present(root)
    return data_set in WAYS and not any(way_present(data_set, i, root) for i in range(len(WAYS[data_set])))
