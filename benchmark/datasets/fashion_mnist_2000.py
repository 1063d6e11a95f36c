"""2,000 training and 1,000 test images of Fashion-MNIST, those of SET's tutorial (IJCAI 2019)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.datasets.fashion_mnist import FashionMnist
from benchmark.datasets.source import DataSource, digest_of
from benchmark.protocols.recipe import DATASETS

if TYPE_CHECKING:
    from benchmark.datasets.source import Arrays

TRAINING, TEST = 2000, 1000
SHUFFLE_SEED = 0


@DATASETS.register("fashion-mnist-2000")
class FashionMnist2000(DataSource):
    """Images (1, 28, 28), uint8, ten classes: the first ones after the tutorial's own shuffle.

    Numpy's legacy generator, seeded with 0, shuffles the training indices and then those of the test set. Numpy
    guarantees that its stream never changes (NEP 19).
    """

    name = "fashion-mnist-2000"
    test_examples = TEST
    layouts = FashionMnist.layouts
    part_of = FashionMnist.name

    def read(self, root: Path) -> Arrays:
        """Cut out of the whole. Raises EnvironmentProblem."""
        import numpy as np

        train_x, train_y, test_x, test_y, _ = FashionMnist().read(root)
        generator = np.random.RandomState(SHUFFLE_SEED)
        training, test = np.arange(len(train_y)), np.arange(len(test_y))
        generator.shuffle(training)
        generator.shuffle(test)
        training, test = training[:TRAINING], test[:TEST]
        parts = train_x[training], train_y[training], test_x[test], test_y[test]
        return (*parts, digest_of(*parts))
