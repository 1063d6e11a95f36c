"""Fashion-MNIST (arXiv 1708.07747) from torchvision's layout; the packed files are checked by md5."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.datasets.mnist import idx_array
from benchmark.datasets.source import DataSource, digest_of, fetch, read_checked
from benchmark.protocols.recipe import DATASETS

if TYPE_CHECKING:
    from benchmark.datasets.source import Arrays

# md5 of each .gz as torchvision publishes them. Unpacked files beside them have no published digest and are not read.
MD5 = {
    "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
}


@DATASETS.register("fashion-mnist")
class FashionMnist(DataSource):
    """60000 and 10000 images (1, 28, 28), uint8, ten classes."""

    name = "fashion-mnist"
    layouts = (tuple(f"FashionMNIST/raw/{file}.gz" for file in MD5),)
    expected = "FashionMNIST/raw/*.gz"

    def download(self, root: Path) -> None:
        """The packed files, from torchvision's mirrors."""
        from torchvision.datasets import FashionMNIST

        FashionMNIST(str(root), download=True)

    def read(self, root: Path) -> Arrays:
        """Images and labels as stored. Raises EnvironmentProblem."""
        import numpy as np

        if not self.is_present(root):
            fetch(self.name, root)
        folder = root / "FashionMNIST" / "raw"
        train_x, train_y, test_x, test_y = (
            idx_array(gzip.decompress(read_checked(folder / f"{file}.gz", md5))) for file, md5 in MD5.items()
        )
        return (
            train_x[:, None],
            train_y.astype(np.int64),
            test_x[:, None],
            test_y.astype(np.int64),
            digest_of(train_x, train_y, test_x, test_y),
        )
