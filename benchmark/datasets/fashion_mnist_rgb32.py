"""Fashion-MNIST in the shape of CIFAR-10's images, for networks that were trained on these."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.datasets.fashion_mnist import FashionMnist
from benchmark.datasets.source import DataSource
from benchmark.protocols.recipe import DATASETS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from benchmark.datasets.source import Arrays

BORDER, CHANNELS = 2, 3


@DATASETS.register("fashion-mnist-rgb32")
class FashionMnistRgb32(DataSource):
    """60000 and 10000 images (3, 32, 32), uint8, ten classes: 2 black pixels on each side, three equal channels.

    A crop with 2 pixels of padding is then one of 32 x 32 pixels out of 36 x 36, as of the images padded by 4.
    """

    name = "fashion-mnist-rgb32"
    layouts = FashionMnist.layouts
    part_of = FashionMnist.name

    def read(self, root: Path) -> Arrays:
        """Made of the stored images, whose digest it has. Raises EnvironmentProblem."""
        train_x, train_y, test_x, test_y, digest = FashionMnist().read(root)
        return _widened(train_x), train_y, _widened(test_x), test_y, digest


def _widened(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, 1, 28, 28) as (n, 3, 32, 32)."""
    import numpy as np

    border = (BORDER, BORDER)
    return np.repeat(np.pad(images, ((0, 0), (0, 0), border, border)), CHANNELS, axis=1)
