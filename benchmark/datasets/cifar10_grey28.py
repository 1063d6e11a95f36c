"""CIFAR-10 in the shape of MNIST's images, as a source of transfer to networks that read these."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.datasets.cifar10 import Cifar10
from benchmark.datasets.source import DataSource, digest_of
from benchmark.protocols.recipe import DATASETS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from benchmark.datasets.source import Arrays

BORDER = 2  # pixels cut off on each side of 32
LUMA = (299, 587, 114)  # thousandths of red, green and blue: ITU-R BT.601


@DATASETS.register("cifar10-grey28")
class Cifar10Grey28(DataSource):
    """50000 and 10000 images (1, 28, 28), uint8, ten classes: luma of the middle 28 x 28 pixels.

    Cut and not resized, so that every number is one pixel's and none depends on an interpolation.
    """

    name = "cifar10-grey28"
    layouts = Cifar10.layouts
    part_of = Cifar10.name

    def read(self, root: Path) -> Arrays:
        """Made of the stored images. Raises EnvironmentProblem."""
        train_x, train_y, test_x, test_y, _ = Cifar10().read(root)
        parts = grey_middle(train_x), train_y, grey_middle(test_x), test_y
        return (*parts, digest_of(*parts))


def grey_middle(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, 3, h, w) as (n, 1, h - 4, w - 4): luma, of halves the larger number, in integers, so that no machine rounds
    another way."""
    import numpy as np

    middle = images[:, :, BORDER:-BORDER, BORDER:-BORDER].astype(np.uint32)
    red, green, blue = (weight * middle[:, channel] for channel, weight in enumerate(LUMA))
    return ((red + green + blue + 500) // 1000).astype(np.uint8)[:, None]
