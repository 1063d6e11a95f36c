"""`pepper` of the denoising papers with noise of standard deviation 0.1: 512 x 512 pixels."""

from __future__ import annotations

from benchmark.datasets.noisy_image import NoisyImage
from benchmark.protocols.recipe import DATASETS


@DATASETS.register("pepper-512")
class Pepper512(NoisyImage):
    """The whole image."""

    name = "pepper-512"
    image, side = "pepper", 512
    layouts = (("images/pepper.png",),)
    expected = "images/pepper.png"
