"""A tiny data set made on the spot, for tests and first tries: noisy points around ten fixed centres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Arrays = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], str]


def load(root: Path) -> Arrays:  # noqa: ARG001
    """400 training and 200 test points of 12 numbers, 4 classes, the same on every machine."""
    from benchmark.datasets.loading import digest_of

    rng = np.random.default_rng(20261121)
    centres = rng.standard_normal((4, 12))
    labels = rng.permutation(np.arange(600) % 4)
    points = (centres[labels] + 0.9 * rng.standard_normal((600, 12))).round(6).astype(np.float32)
    return points[:400], labels[:400], points[400:], labels[400:], digest_of(points, labels)
