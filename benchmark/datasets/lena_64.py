"""`lena` of the denoising papers with noise of standard deviation 0.1: 64 x 64 pixels."""

from __future__ import annotations

from benchmark.datasets.noisy_image import NoisyImage
from benchmark.protocols.recipe import DATASETS


@DATASETS.register("lena-64")
class Lena64(NoisyImage):
    """The middle of the image."""

    name = "lena-64"
    image, side = "lena", 64
    layouts = (("images/lena.png",),)
    expected = "images/lena.png"
