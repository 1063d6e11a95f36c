"""One image of the denoising papers with Gaussian noise: the only example, and what is to be found behind it.

The four images lie in a folder `images` of the data root, as in the released code of the papers that use them; nothing
is downloaded. Noise and the generator's input are drawn once for an image and size, by numpy's legacy generator, whose
stream never changes (NEP 19).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from benchmark.datasets.source import DataSource, digest_of, read_checked
from benchmark.utils.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from benchmark.datasets.source import Arrays

MD5 = {
    "pepper": "be1945c35d6ae770e95f8feed8afbef4",
    "lena": "b2ca965a668d8385d01ea931757594d6",
}
"""Measured from the files: those of github Avra98/Optimal-Eye-Surgeon, 512 x 512, 8-bit RGB."""

SIGMA = 0.1  # of the noise, for pixels in [0, 1]
INPUT_CHANNELS, INPUT_RANGE = 32, 0.1  # uniform in [0, 0.1): get_noise of Deep Image Prior's code
SEED = 240605288  # arXiv 2406.05288


class NoisyImage(DataSource):
    """Training example: noise (32, side, side) with the noisy image (3, side, side), both float32; test example: the
    same noise with the clean image. `image`: which one. `side`: of the square cut out of its middle, in pixels.
    """

    image: ClassVar[str]
    side: ClassVar[int]
    labels_are_images = True
    test_examples = 1

    def read(self, root: Path) -> Arrays:
        """From `images/<image>.png`. Raises EnvironmentProblem if it is missing or altered."""
        import numpy as np

        clean = centre(pixels(read_checked(root / f"images/{self.image}.png", MD5[self.image])), self.side)
        noise = np.random.RandomState([SEED, list(MD5).index(self.image), self.side])
        noisy = (clean + SIGMA * noise.standard_normal(clean.shape)).clip(0, 1)
        given = INPUT_RANGE * noise.random_sample((1, INPUT_CHANNELS, self.side, self.side))
        x, y, y_test = (array.astype(np.float32) for array in (given, noisy[None], clean[None]))
        return x, y, x, y_test, digest_of(x, y, y_test)

    def download(self, root: Path) -> None:
        """There is no home that could be checked."""
        raise NotImplementedError(f"put {self.image}.png of the denoising papers into its folder images")


def pixels(content: bytes) -> NDArray[np.float64]:
    """(3, height, width) in [0, 1] of an 8-bit RGB file."""
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"), np.float64).transpose(2, 0, 1) / 255


def centre(image: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """(3, side, side) of the middle of an image (3, height, width). Raises BadInput if it is smaller."""
    _, height, width = image.shape
    if min(height, width) < side:
        raise BadInput(f"an image of {height} x {width}", f"is smaller than {side} x {side}", "Cut out less")
    top, left = (height - side) // 2, (width - side) // 2
    return image[:, top : top + side, left : left + side]
