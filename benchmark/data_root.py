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


def data_root() -> Path:
    """$LOTTERYBENCH_DATA, else a cache folder of the user's."""
    given = os.environ.get("LOTTERYBENCH_DATA")
    return Path(given) if given else Path.home() / ".cache" / "lotterybench" / "data"


def mnist_present(root: Path) -> bool:
    """Whether all four MNIST files are there, packed or not."""
    folder = root / "MNIST" / "raw"
    return all((folder / f"{name}.gz").exists() or (folder / name).exists() for name in MNIST_FILES)


def needs_download(data_set: str, root: Path) -> bool:
    """Whether `data_set` has to be fetched before it can be used."""
    return data_set == "mnist" and not mnist_present(root)
