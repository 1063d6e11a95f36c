"""The deep decoder (Heckel & Hand 2019, arXiv 1810.03982): 100,224 parameters at the size of arXiv 2406.05288."""

from __future__ import annotations

from math import prod

from torch import Tensor, nn
from torch.nn.functional import interpolate

from benchmark.networks.layers import ImageNorm
from benchmark.networks.registry import FAMILIES
from benchmark.protocols.generators import DeepDecoderSpec


@FAMILIES.register("deep-decoder")
class DeepDecoder(nn.Module):
    """1x1 convolution, upsampling (but for the last layer), ReLU, batch norm, in this order; a 1x1 convolution at last.

    Input (n, *spec.input), of which the first numbers are read as (n, width, *spec.first_size); output (n, image
    channels, height, width), before the sigmoid. Tensors: conv1, norm1, conv2, ..., final.
    """

    def __init__(self, spec: DeepDecoderSpec) -> None:
        super().__init__()
        self.layers, self.shape = spec.layers, (spec.width, *spec.first_size)
        for number in range(1, spec.layers + 1):
            self.add_module(f"conv{number}", nn.Conv2d(spec.width, spec.width, 1, bias=False))
            self.add_module(f"norm{number}", ImageNorm(spec.width, eps=spec.epsilon))
        self.final = nn.Conv2d(spec.width, spec.image_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(1)[:, : prod(self.shape)].reshape(len(x), *self.shape)
        for number in range(1, self.layers + 1):
            h = self.get_submodule(f"conv{number}")(h)
            if number < self.layers:
                h = interpolate(h, scale_factor=2, mode="bilinear", align_corners=False)
            h = self.get_submodule(f"norm{number}")(h.relu())
        image: Tensor = self.final(h)
        return image
