"""Small NORB (LeCun, Huang, Bottou 2004): toys on turntables; the packed files are checked by sha256.

Its matrices are little-endian: a magic number for the type, the number of dimensions, at least three sizes, the data.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.datasets.source import REPAIR, DataSource, digest_of, fetch, read_checked
from benchmark.protocols.recipe import DATASETS
from benchmark.utils.errors import EnvironmentProblem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from benchmark.datasets.source import Arrays

# sha256 of each .gz as TensorFlow Datasets publishes them (url_checksums/smallnorb.txt @333639b): images and categories
# of the training set, then of the test set. What else there is, poses, is not read.
SHA256 = {
    "smallnorb-5x46789x9x18x6x2x96x96-training-dat.mat": (
        "5ffd6272a07d32695ee1082a26a41a93a37aab8c28da047f8c34ed348d214873"
    ),
    "smallnorb-5x46789x9x18x6x2x96x96-training-cat.mat": (
        "2784e542c1922060691090952b6cd6278879a216c90f81476f0f00256d42cdaa"
    ),
    "smallnorb-5x01235x9x18x6x2x96x96-testing-dat.mat": (
        "cf7104eed3e51174d2f65b66d1e5878b9da233b886f161b0d88f4510ba2c7474"
    ),
    "smallnorb-5x01235x9x18x6x2x96x96-testing-cat.mat": (
        "ecaf6d5bb8c3bc5eab9cf0258f6d2198dd474e016e374836fc097f2e5ff509ff"
    ),
}
FOLDER = "smallNORB"
TYPES = {0x1E3D4C55: "u1", 0x1E3D4C54: "<i4"}
"""Magic number -> numpy's name of the type: bytes and integers; the data set has no others."""


@DATASETS.register("smallnorb")
class SmallNorb(DataSource):
    """24300 and 24300 images (1, 96, 96), uint8, of the left camera; animal, human, airplane, truck, car.

    No toy of the test set is in the training set. Of each pair of images the left one is used, as Mehta does (arXiv
    1905.07785, github rahulsmehta/sparsity-experiments, norb_dataset.py).
    """

    name = "smallnorb"
    test_examples = 24_300
    layouts = (tuple(f"{FOLDER}/{file}.gz" for file in SHA256),)
    expected = f"{FOLDER}/*.mat.gz"
    home = "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/"

    def download(self, root: Path) -> None:
        """The four packed files, 263 MB, from the authors' page."""
        from torchvision.datasets.utils import download_url

        for file, digest in SHA256.items():
            download_url(f"{self.home}{file}.gz", str(root / FOLDER))
            read_checked(root / FOLDER / f"{file}.gz", digest, "sha256")

    def read(self, root: Path) -> Arrays:
        """Images and categories as stored. Raises EnvironmentProblem."""
        import numpy as np

        if not self.is_present(root):
            fetch(self.name, root)
        train_x, train_y, test_x, test_y = (
            _matrix(root / FOLDER / f"{file}.gz", digest) for file, digest in SHA256.items()
        )
        train_x, test_x = train_x[:, :1], test_x[:, :1]
        train_labels, test_labels = train_y.astype(np.int64), test_y.astype(np.int64)
        digest = digest_of(train_x, train_labels, test_x, test_labels)
        return train_x, train_labels, test_x, test_labels, digest


def _matrix(path: Path, digest: str) -> NDArray[np.generic]:
    """A packed matrix in its own shape. Raises EnvironmentProblem if it is not the published file."""
    import numpy as np

    content = gzip.decompress(read_checked(path, digest, "sha256"))
    magic, dimensions = (int(number) for number in np.frombuffer(content, "<u4", 2))
    if magic not in TYPES:
        raise EnvironmentProblem(str(path), f"a matrix of an unknown type, {magic:#x}", REPAIR)
    sizes = np.frombuffer(content, "<u4", dimensions, offset=8).astype(int)
    start = 8 + 4 * max(3, dimensions)  # a vector has two sizes more that mean nothing
    return np.frombuffer(content, TYPES[magic], int(sizes.prod()), offset=start).reshape(sizes).copy()
