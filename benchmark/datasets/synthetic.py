"""A tiny data set made on the spot, for tests and first tries: noisy points around four fixed centres."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.datasets.source import DataSource, digest_of
from benchmark.protocols.recipe import DATASETS

if TYPE_CHECKING:
    from benchmark.datasets.source import Arrays


@DATASETS.register("synthetic")
class Synthetic(DataSource):
    """400 training and 200 test points of 12 numbers, 4 classes, the same on every machine."""

    name = "synthetic"
    generated = flat = True
    test_examples = 200

    def read(self, root: Path) -> Arrays:  # noqa: ARG002
        """Normal noise of standard deviation 0.9 around centres drawn from a standard normal, rounded to 6 decimals."""
        import numpy as np

        rng = np.random.default_rng(20261121)
        centres = rng.standard_normal((4, 12))
        labels = rng.permutation(np.arange(600) % 4)
        points = (centres[labels] + 0.9 * rng.standard_normal((600, 12))).round(6).astype(np.float32)
        return points[:400], labels[:400], points[400:], labels[400:], digest_of(points, labels)
