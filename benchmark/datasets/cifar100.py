"""CIFAR-100 with its hundred fine labels, from torchvision's layout; every file checked by md5."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.datasets.cifar10 import download_archive, read_batches
from benchmark.datasets.source import DataSource, fetch
from benchmark.protocols.recipe import DATASETS

if TYPE_CHECKING:
    from benchmark.datasets.source import Arrays

# md5 of each file as torchvision publishes them.
MD5 = {"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}
FOLDER = "cifar-100-python"


@DATASETS.register("cifar100")
class Cifar100(DataSource):
    """50000 and 10000 images (3, 32, 32), uint8, a hundred classes."""

    name = "cifar100"
    layouts = (tuple(f"{FOLDER}/{file}" for file in MD5),)
    expected = f"{FOLDER}/"
    sample = "cifar100-train-20-per-class"

    def download(self, root: Path) -> None:
        """The archive, from its authors' page, unpacked."""
        from torchvision.datasets import CIFAR100

        download_archive(CIFAR100, root)

    def read(self, root: Path) -> Arrays:
        """Images and labels. Raises EnvironmentProblem."""
        if not self.is_present(root):
            fetch(self.name, root)
        return read_batches(root / FOLDER, MD5, "fine_labels")
