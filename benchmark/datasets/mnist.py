"""MNIST from the data root in torchvision's layout, or fetched by torchvision; every file checked by digest."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.datasets.source import DataSource, digest_of, fetch, read_checked
from benchmark.protocols.recipe import DATASETS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from benchmark.datasets.source import Arrays

# name -> (md5 of the .gz, as torchvision publishes; sha256 of the unpacked file, measured from it)
FILES: dict[str, tuple[str, str]] = {
    "train-images-idx3-ubyte": (
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte": (
        "d53e105ee54ea40749a09fcbcd1e9432",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte": (
        "9fb629c4189551a2d022fa330f9573f3",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte": (
        "ec29112dd5afa0611ce80d1b7f02629c",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}


@DATASETS.register("mnist")
class Mnist(DataSource):
    """60000 and 10000 digits as vectors of 784 floats, ten classes. Each file may be packed or not."""

    name = "mnist"
    flat = True
    expected = "MNIST/raw/*.gz"

    def is_present(self, root: Path) -> bool:
        """Whether all four files are there, packed or not."""
        folder = root / "MNIST" / "raw"
        return all((folder / f"{name}.gz").exists() or (folder / name).exists() for name in FILES)

    def download(self, root: Path) -> None:
        """The packed files, from torchvision's mirrors."""
        from torchvision.datasets import MNIST

        MNIST(str(root), download=True)

    def read(self, root: Path) -> Arrays:
        """Images in [0, 1] (pixel / 255), labels, and the digest of the raw pixels. Raises EnvironmentProblem."""
        import numpy as np

        if not self.is_present(root):
            fetch("mnist", root)
        folder = root / "MNIST" / "raw"
        train_x, train_y, test_x, test_y = (_read_file(folder, name) for name in FILES)
        return (
            train_x.reshape(len(train_x), -1).astype(np.float32) / np.float32(255),
            train_y.astype(np.int64),
            test_x.reshape(len(test_x), -1).astype(np.float32) / np.float32(255),
            test_y.astype(np.int64),
            digest_of(train_x, train_y, test_x, test_y),
        )


def _read_file(folder: Path, name: str) -> NDArray[np.uint8]:
    md5, sha256 = FILES[name]
    packed = folder / f"{name}.gz"
    if packed.exists():
        return idx_array(gzip.decompress(read_checked(packed, md5)))
    return idx_array(read_checked(folder / name, sha256, "sha256"))


def idx_array(content: bytes) -> NDArray[np.uint8]:
    """An IDX file: two zero bytes, type, dimensions, then one big-endian 32-bit size each, then bytes."""
    import numpy as np

    dimensions = content[3]
    sizes = np.frombuffer(content, ">u4", dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(sizes.astype(int)).copy()
