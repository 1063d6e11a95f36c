"""CIFAR-10 from torchvision's layout or from a compact form, and the reader of CIFAR's batch files, checked by md5."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.datasets.source import DataSource, cache_root, digest_of, fetch, read_checked
from benchmark.protocols.recipe import DATASETS

if TYPE_CHECKING:
    from benchmark.datasets.source import Arrays

# md5 of each file as torchvision publishes them; the last is the test set.
MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
FOLDER, COMPACT = "cifar-10-batches-py", "cifar10.lsxz"


@DATASETS.register("cifar10")
class Cifar10(DataSource):
    """50000 and 10000 images (3, 32, 32), uint8, ten classes."""

    name = "cifar10"
    layouts = (tuple(f"{FOLDER}/{file}" for file in MD5), (COMPACT,))
    expected = f"{FOLDER}/"

    def download(self, root: Path) -> None:
        """The archive, from its authors' page, unpacked."""
        from torchvision.datasets import CIFAR10

        download_archive(CIFAR10, root)

    def read(self, root: Path) -> Arrays:
        """Images and labels. A compact form under `root` is restored into the user's cache, once.

        Raises EnvironmentProblem.
        """
        from benchmark.datasets import cifar_lossless

        holder = next((folder for folder in (root, cache_root()) if self.has_layout(0, folder)), None)
        if holder is None and self.has_layout(1, root):
            holder = cache_root()
            cifar_lossless.restore(root / COMPACT, holder)
        if holder is None:
            holder = root
            fetch(self.name, root)
        return read_batches(holder / FOLDER, MD5, "labels")


def download_archive(published: Any, root: Path) -> None:
    """Fetch and unpack the archive of one of torchvision's CIFAR classes, which state its address and md5."""
    from torchvision.datasets.utils import download_and_extract_archive

    download_and_extract_archive(published.url, str(root), filename=published.filename, md5=published.tgz_md5)


class _Unpickler(pickle.Unpickler):
    """Reads what CIFAR's batches hold, numpy arrays in plain containers, and nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        import numpy as np
        from numpy._core.multiarray import _reconstruct

        if module.startswith("numpy") and name in ("_reconstruct", "ndarray", "dtype"):
            return {"_reconstruct": _reconstruct, "ndarray": np.ndarray, "dtype": np.dtype}[name]
        if (module, name) == ("_codecs", "encode"):
            import codecs

            return codecs.encode
        raise pickle.UnpicklingError(f"{module}.{name} does not belong into a CIFAR batch")


def read_batches(folder: Path, md5: dict[str, str], labels: str) -> Arrays:
    """Images and labels of the named files, of which the last is the test set.

    `labels`: the key of the labels in a batch. Raises EnvironmentProblem, before anything is unpickled, if a file is
    not the one of that md5.
    """
    import numpy as np

    parts = []
    for name, digest in md5.items():
        content = read_checked(folder / name, digest)
        batch = _Unpickler(io.BytesIO(content), encoding="latin1").load()
        parts.append((batch["data"].reshape(-1, 3, 32, 32), np.asarray(batch[labels], np.int64)))
    train_x = np.concatenate([images for images, _ in parts[:-1]])
    train_y = np.concatenate([numbers for _, numbers in parts[:-1]])
    test_x, test_y = parts[-1]
    return train_x, train_y, test_x, test_y, digest_of(train_x, train_y, test_x, test_y)
