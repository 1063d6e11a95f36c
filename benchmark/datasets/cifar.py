"""CIFAR-10 and CIFAR-100 from torchvision's layout or, CIFAR-10, from a compact form; every file checked by md5."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets.dataset import digest_of
from benchmark.datasets.download import ByteArrays, read_checked
from benchmark.datasets.paths import CIFAR10_FILES, CIFAR100_FILES, cache_root, way_present
from benchmark.protocols.recipe import SAMPLE

# md5 of each file as torchvision publishes them.
CIFAR10_MD5 = dict(
    zip(
        CIFAR10_FILES,
        (
            "c99cafc152244af753f735de768cd75f",
            "d4bba439e000b95fd0a9bffe97cbabec",
            "54ebc095f3ab1f0389bbae665268c751",
            "634d18415352ddfa80567beed471001a",
            "482c414d41f54cd18b22e5b47cb7c3cb",
            "40351d587109b95175f43aff81a1287e",
        ),
        strict=True,
    )
)
CIFAR100_MD5 = dict(
    zip(CIFAR100_FILES, ("16019d7e3df5f24257cddd939b257f8d", "f0ef6b0ae62326f3e7ffdfab6717acfc"), strict=True)
)


class _Unpickler(pickle.Unpickler):
    """Reads what CIFAR's batches hold, numpy arrays in plain containers, and nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        from numpy._core.multiarray import _reconstruct

        if module.startswith("numpy") and name in ("_reconstruct", "ndarray", "dtype"):
            return {"_reconstruct": _reconstruct, "ndarray": np.ndarray, "dtype": np.dtype}[name]
        if (module, name) == ("_codecs", "encode"):
            import codecs

            return codecs.encode
        raise pickle.UnpicklingError(f"{module}.{name} does not belong into a CIFAR batch")


def _batches(folder: Path, md5: dict[str, str], labels: str) -> ByteArrays:
    parts = []
    for name, digest in md5.items():
        content = read_checked(folder / name, digest)  # before anything is unpickled
        batch = _Unpickler(io.BytesIO(content), encoding="latin1").load()
        parts.append((batch["data"].reshape(-1, 3, 32, 32), np.asarray(batch[labels], np.int64)))
    train_x = np.concatenate([images for images, _ in parts[:-1]])
    train_y = np.concatenate([numbers for _, numbers in parts[:-1]])
    test_x, test_y = parts[-1]
    return train_x, train_y, test_x, test_y, digest_of(train_x, train_y, test_x, test_y)


def load10(root: Path) -> ByteArrays:
    """CIFAR-10: (50000, 3, 32, 32) and (10000, 3, 32, 32) uint8, ten classes.

    A compact form under `root` is restored into the user's cache, once. Raises EnvironmentProblem.
    """
    from benchmark.datasets import cifar_lossless as compact_images
    from benchmark.datasets import download as fetching

    home = next((place for place in (root, cache_root()) if way_present("cifar10", 0, place)), None)
    if home is None and way_present("cifar10", 1, root):
        home = cache_root()
        compact_images.restore(root / "cifar10.lsxz", home)
    if home is None:
        home = root
        fetching.fetch("cifar10", root)
    return _batches(home / "cifar-10-batches-py", CIFAR10_MD5, "labels")


def load100(root: Path) -> ByteArrays:
    """CIFAR-100 with its hundred fine labels, shapes as CIFAR-10's. Raises EnvironmentProblem."""
    from benchmark.datasets import download as fetching

    if not way_present("cifar100", 0, root):
        fetching.fetch("cifar100", root)
    return _batches(root / "cifar-100-python", CIFAR100_MD5, "fine_labels")


SAMPLE_SHA256 = "d9062f716cb551f599d9fca94dd7dc9fa683ef0e5358845113962f037db11768"  # measured from the file


def load100_sample(root: Path) -> ByteArrays:
    """The first 20 training images of each CIFAR-100 class, in stored order, for scoring only: there is no test set.

    From the file that holds no more than these, else cut out of the whole of CIFAR-100. Raises EnvironmentProblem.
    """
    if not way_present(SAMPLE, 0, root):
        return _first_of_each_class(load100(root))
    content = read_checked(root / "cifar100-train-20-per-class.npz", SAMPLE_SHA256, "sha256")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"].astype(np.int64)
    return _for_scoring(images, labels)


def _for_scoring(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> ByteArrays:
    return images, labels, images[:0], labels[:0], digest_of(images, labels)


def _first_of_each_class(whole: ByteArrays, count: int = 20) -> ByteArrays:
    images, labels = whole[0], whole[1]
    chosen = np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in range(labels.max() + 1)]))
    return _for_scoring(images[chosen], labels[chosen])
