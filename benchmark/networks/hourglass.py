"""The hourglass of Deep Image Prior (arXiv 1711.10925) without skip connections: 3,008,867 parameters at the size of
arXiv 2406.05288."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu

from benchmark.networks.layers import ImageNorm
from benchmark.networks.registry import FAMILIES
from benchmark.protocols.generators import HourglassSpec

SLOPE = 0.2  # of LeakyReLU


@FAMILIES.register("hourglass")
class Hourglass(nn.Module):
    """Levels down and up again; reflection padding, LeakyReLU 0.2 after each batch norm but those at a decoder's input.

    Input (n, *spec.input); output (n, image channels, height, width), before the sigmoid. Tensors: down0a, down0a_norm,
    down0b, ..., up0_norm_in, up0, up0_norm, final.
    """

    def __init__(self, spec: HourglassSpec) -> None:
        super().__init__()
        self.levels = len(spec.widths)
        channels = spec.input[0]
        for level, width in enumerate(spec.widths):
            for part, inputs in (("a", channels), ("b", width)):
                self._add(f"down{level}{part}", inputs, width, spec.encoder_kernel, spec.epsilon)
            channels = width
        for level, width in reversed(list(enumerate(spec.widths))):
            self.add_module(f"up{level}_norm_in", ImageNorm(channels, eps=spec.epsilon))
            self._add(f"up{level}", channels, width, spec.decoder_kernel, spec.epsilon)
            channels = width
        self.final = nn.Conv2d(channels, spec.image_channels, 1)

    def _add(self, name: str, inputs: int, width: int, kernel: int, epsilon: float) -> None:
        self.add_module(name, nn.Conv2d(inputs, width, kernel, padding=kernel // 2, padding_mode="reflect"))
        self.add_module(f"{name}_norm", ImageNorm(width, eps=epsilon))

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for level in range(self.levels):
            h = self._active(f"down{level}a", avg_pool2d(self.get_submodule(f"down{level}a")(h), 2))
            h = self._active(f"down{level}b", self.get_submodule(f"down{level}b")(h))
        for level in reversed(range(self.levels)):
            h = self.get_submodule(f"up{level}_norm_in")(interpolate(h, scale_factor=2, mode="nearest"))
            h = self._active(f"up{level}", self.get_submodule(f"up{level}")(h))
        image: Tensor = self.final(h)
        return image

    def _active(self, name: str, h: Tensor) -> Tensor:
        return leaky_relu(self.get_submodule(f"{name}_norm")(h), SLOPE)
