"""MNIST from the data root in torchvision's layout, or fetched by torchvision; every file checked by digest."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets.dataset import digest_of
from benchmark.datasets.download import fetch
from benchmark.datasets.paths import mnist_present
from benchmark.utils.errors import EnvironmentProblem

# name -> (md5 of the .gz, as torchvision publishes; sha256 and shape of the unpacked file, measured from it)
FILES: dict[str, tuple[str, str, tuple[int, ...]]] = {
    "train-images-idx3-ubyte": (
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        (60000, 28, 28),
    ),
    "train-labels-idx1-ubyte": (
        "d53e105ee54ea40749a09fcbcd1e9432",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        (60000,),
    ),
    "t10k-images-idx3-ubyte": (
        "9fb629c4189551a2d022fa330f9573f3",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        (10000, 28, 28),
    ),
    "t10k-labels-idx1-ubyte": (
        "ec29112dd5afa0611ce80d1b7f02629c",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        (10000,),
    ),
}

Arrays = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], str]


def read_file(folder: Path, name: str) -> NDArray[np.uint8]:
    """One checked IDX file as an array. Raises EnvironmentProblem if missing, truncated or altered."""
    md5, sha256, shape = FILES[name]
    packed, plain = folder / f"{name}.gz", folder / name
    path = packed if packed.exists() else plain
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise EnvironmentProblem(str(path), f"cannot be read ({error.strerror})", _REPAIR) from error
    if path == packed:
        found, expected = hashlib.md5(raw, usedforsecurity=False).hexdigest(), md5
    else:
        found, expected = hashlib.sha256(raw).hexdigest(), sha256
    if found != expected:
        raise EnvironmentProblem(
            str(path),
            f"truncated or altered: {len(raw)} bytes with digest {found}, expected {expected}",
            _REPAIR,
        )
    content = gzip.decompress(raw) if path == packed else raw
    header = 4 + 4 * len(shape)  # magic number, then one big-endian size per dimension
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


_REPAIR = "Delete that file and run again to download it, or set LOTTERYBENCH_DATA to an intact copy"


def load(root: Path) -> Arrays:
    """Images (n, 784) in [0, 1] (pixel / 255), labels (n,), and the digest of the raw pixels."""
    if not mnist_present(root):
        fetch("mnist", root)
    folder = root / "MNIST" / "raw"
    train_x, train_y, test_x, test_y = (read_file(folder, name) for name in FILES)
    return (
        train_x.reshape(len(train_x), -1).astype(np.float32) / np.float32(255),
        train_y.astype(np.int64),
        test_x.reshape(len(test_x), -1).astype(np.float32) / np.float32(255),
        test_y.astype(np.int64),
        digest_of(train_x, train_y, test_x, test_y),
    )
