"""Fashion-MNIST (arXiv 1708.07747) from torchvision's layout; the packed files are checked by md5."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets.dataset import digest_of
from benchmark.datasets.download import ByteArrays, read_checked
from benchmark.datasets.paths import MNIST_FILES, way_present

# md5 of each .gz as torchvision publishes them. Unpacked files beside them have no published digest and are not read.
MD5 = dict(
    zip(
        MNIST_FILES,
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        strict=True,
    )
)


def _idx(content: bytes) -> NDArray[np.uint8]:
    """An IDX file: two zero bytes, type, dimensions, then one big-endian 32-bit size each, then bytes."""
    dimensions = content[3]
    sizes = np.frombuffer(content, ">u4", dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(sizes.astype(int)).copy()


def load(root: Path) -> ByteArrays:
    """(60000, 1, 28, 28) and (10000, 1, 28, 28) uint8, ten classes. Raises EnvironmentProblem."""
    from benchmark.datasets import download as fetching

    if not way_present("fashion-mnist", 0, root):
        fetching.fetch("fashion-mnist", root)
    folder = root / "FashionMNIST" / "raw"
    train_x, train_y, test_x, test_y = (
        _idx(gzip.decompress(read_checked(folder / f"{name}.gz", MD5[name]))) for name in MNIST_FILES
    )
    return (
        train_x[:, None],
        train_y.astype(np.int64),
        test_x[:, None],
        test_y.astype(np.int64),
        digest_of(train_x, train_y, test_x, test_y),
    )
