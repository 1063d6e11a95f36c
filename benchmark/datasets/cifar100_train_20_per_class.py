"""The first 20 training images of each CIFAR-100 class, in stored order: to score on where all of it is not there.

There is no test set, so only protocols that measure masks may use it.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.datasets.cifar100 import Cifar100
from benchmark.datasets.source import DataSource, digest_of, read_checked
from benchmark.protocols.recipe import DATASETS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from benchmark.datasets.source import Arrays

FILE = "cifar100-train-20-per-class.npz"
SHA256 = "d9062f716cb551f599d9fca94dd7dc9fa683ef0e5358845113962f037db11768"  # measured from the file
PER_CLASS = 20


@DATASETS.register("cifar100-train-20-per-class")
class Cifar100Sample(DataSource):
    """2000 images (3, 32, 32), uint8, a hundred classes, no test set."""

    name = "cifar100-train-20-per-class"
    test_examples = 0
    layouts = ((FILE,), *Cifar100.layouts)  # of which the sample is cut out
    part_of = Cifar100.name

    def read(self, root: Path) -> Arrays:
        """From the file that holds no more than these, else cut out of the whole. Raises EnvironmentProblem."""
        import numpy as np

        if not self.has_layout(0, root):
            images, labels, *_ = Cifar100().read(root)
            each = [np.flatnonzero(labels == label)[:PER_CLASS] for label in range(labels.max() + 1)]
            rows = np.sort(np.concatenate(each))
            return _without_test_set(images[rows], labels[rows])
        with np.load(io.BytesIO(read_checked(root / FILE, SHA256, "sha256")), allow_pickle=False) as arrays:
            return _without_test_set(arrays["images"], arrays["labels"].astype(np.int64))


def _without_test_set(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Arrays:
    return images, labels, images[:0], labels[:0], digest_of(images, labels)
