"""Rings in the square: the Circle task of Plant 'n' Seek (arXiv 2111.11153), generated; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.datasets.source import DataSource, digest_of
from benchmark.protocols.recipe import DATASETS

if TYPE_CHECKING:
    from benchmark.datasets.source import Arrays

SEED = 0
TRAINING, TEST = 9000, 1000  # 10,000 points, a tenth held out (Supp. B.1)
SQUARED_RADII = (0.2, 0.5, 0.7)
MOVED = 0.01


@DATASETS.register("circle")
class Circle(DataSource):
    """Points (2,) uniform in [-1, 1]^2, float32, of four classes: between which of three circles they lie.

    The squared radii are 0.2, 0.5 and 0.7. One point in a hundred has the class of the next ring, outwards but for
    the outermost one. The paper's text says three inputs; its code and figures have two. Drawn by numpy's legacy
    generator, whose stream never changes (NEP 19).
    """

    name = "circle"
    generated = flat = True
    test_examples = TEST

    def read(self, root: Path) -> Arrays:  # noqa: ARG002
        """The same points on every machine."""
        import numpy as np

        generator = np.random.RandomState(SEED)
        points = generator.uniform(-1.0, 1.0, (TRAINING + TEST, 2))
        labels = np.digitize((points**2).sum(axis=1), SQUARED_RADII).astype(np.int64)
        moved = generator.uniform(size=len(labels)) < MOVED
        outermost = len(SQUARED_RADII)
        labels[moved] += np.where(labels[moved] < outermost, 1, -1)
        inputs = points.astype(np.float32)
        parts = inputs[:TRAINING], labels[:TRAINING], inputs[TRAINING:], labels[TRAINING:]
        return (*parts, digest_of(*parts))
