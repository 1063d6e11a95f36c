"""`pepper` of the denoising papers with noise of standard deviation 0.1: 64 x 64 pixels."""

from __future__ import annotations

from benchmark.datasets.noisy_image import NoisyImage
from benchmark.protocols.recipe import DATASETS


@DATASETS.register("pepper-64")
class Pepper64(NoisyImage):
    """The middle of the image."""

    name = "pepper-64"
    image, side = "pepper", 64
    layouts = (("images/pepper.png",),)
    expected = "images/pepper.png"
