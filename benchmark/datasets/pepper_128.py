"""`pepper` of the denoising papers with noise of standard deviation 0.1: 128 x 128 pixels."""

from __future__ import annotations

from benchmark.datasets.noisy_image import NoisyImage
from benchmark.protocols.recipe import DATASETS


@DATASETS.register("pepper-128")
class Pepper128(NoisyImage):
    """The middle of the image."""

    name = "pepper-128"
    image, side = "pepper", 128
    layouts = (("images/pepper.png",),)
    expected = "images/pepper.png"
