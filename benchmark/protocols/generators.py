"""Untrained image generators: from a fixed input of noise to an image, trained on that one image.

Their outputs are (channels, height, width), before the sigmoid that the task applies. All of their tensors may be
pruned, batch norm's too (Ghosh et al. 2024, arXiv 2406.05288).
"""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from benchmark.protocols.graph import Edge, Layered, Positions, Tensors, convolution_tensors, sequence
from benchmark.protocols.network_rules import CudaStrategy, InitialRules


class GeneratorSpec(Layered):
    """What both generators state. `input`: (channels, height, width) of the noise; the image has its height and width.

    Initial weights and biases are PyTorch's uniform ones; batch norm scales with 1 and shifts by 0, and takes the
    statistics of the one image in training and evaluation alike.
    """

    input: tuple[int, int, int]
    image_channels: int = Field(gt=0)
    epsilon: float = Field(gt=0, description="of batch norm")

    cuda_strategy: ClassVar[CudaStrategy] = "streams"
    has_batch_norm: ClassVar[bool] = True

    @cached_property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.input

    @cached_property
    def outputs(self) -> int:
        """Number of image channels."""
        return self.image_channels

    @cached_property
    def initial_rules(self) -> InitialRules:
        """How initial values are drawn."""
        return InitialRules("pytorch-uniform", "pytorch-uniform", "pytorch-uniform")

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """See `graph`: one convolution after another; scales of batch norm are no edges."""
        return sequence(name for name, (kind, _) in self.tensors.items() if kind == "convolution")

    def reading(self, inputs: int) -> Self:  # noqa: ARG002
        """The network itself: features can be left out in front of a fully connected layer only."""
        return self

    def halved(self, times: int) -> tuple[int, int]:
        """Height and width after so many halvings. Raises ValueError where one of them would not be whole."""
        _, height, width = self.input
        if height % 2**times or width % 2**times:
            raise ValueError(
                f"input: an image of {height} x {width} cannot be halved {times} times; cut it to multiples of "
                f"{2**times}, or take fewer levels"
            )
        return height >> times, width >> times


class HourglassSpec(GeneratorSpec):
    """The encoder-decoder "skip" of Deep Image Prior without its skip connections (Ulyanov et al., arXiv 1711.10925).

    `widths`: channels of each level, the finest first. Level i of the encoder is two convolutions, an average pool 2x2
    after the first; level i of the decoder upsamples to the nearest pixel and has one convolution, with batch norm in
    front of it and behind. Convolutions have biases.
    """

    name: Literal["hourglass"]
    widths: tuple[int, ...] = Field(min_length=1)
    encoder_kernel: int = Field(gt=0)
    decoder_kernel: int = Field(gt=0)

    family: ClassVar[str] = "hourglass"

    @cached_property
    def tensors(self) -> Tensors:
        """See `Tensors`."""
        tensors: Tensors = {}
        channels, k = self.input[0], self.encoder_kernel
        for level, width in enumerate(self.widths):
            for part, inputs in (("a", channels), ("b", width)):
                tensors |= convolution_tensors(f"down{level}{part}", (width, inputs, k, k), True)
                tensors |= norm_tensors(f"down{level}{part}_norm", width)
            channels = width
        for level, width in reversed(list(enumerate(self.widths))):
            tensors |= norm_tensors(f"up{level}_norm_in", channels)
            tensors |= convolution_tensors(f"up{level}", (width, channels, *(self.decoder_kernel,) * 2), True)
            tensors |= norm_tensors(f"up{level}_norm", width)
            channels = width
        return tensors | convolution_tensors("final", (self.image_channels, channels, 1, 1), True)

    @cached_property
    def positions(self) -> Positions:
        """See `Positions`: the pool of a level lies between its two convolutions."""
        area = self.input[1] * self.input[2]
        found = {"final.weight": area}
        for level in range(len(self.widths)):
            here = area >> 2 * level
            found |= {f"down{level}a.weight": here, f"down{level}b.weight": here // 4, f"up{level}.weight": here}
        return found

    @model_validator(mode="after")
    def _can_be_halved(self) -> Self:
        self.halved(len(self.widths))
        if not self.encoder_kernel % 2 or not self.decoder_kernel % 2:
            raise ValueError("encoder_kernel, decoder_kernel: odd, so that padding keeps the size")
        return self


class DeepDecoderSpec(GeneratorSpec):
    """The deep decoder (Heckel & Hand 2019, arXiv 1810.03982): 1x1 convolutions, bilinear upsampling, ReLU, batch norm.

    `layers` layers of `width` channels, upsampled after all but the last; then one 1x1 convolution to the image.
    Convolutions have no bias. It reads the first numbers of the noise as `width` small images.
    """

    name: Literal["deep-decoder"]
    width: int = Field(gt=0)
    layers: int = Field(gt=1)

    family: ClassVar[str] = "deep-decoder"

    @cached_property
    def tensors(self) -> Tensors:
        """See `Tensors`."""
        tensors: Tensors = {}
        for number in range(1, self.layers + 1):
            tensors |= convolution_tensors(f"conv{number}", (self.width, self.width, 1, 1), False)
            tensors |= norm_tensors(f"norm{number}", self.width)
        return tensors | convolution_tensors("final", (self.image_channels, self.width, 1, 1), False)

    @property
    def first_size(self) -> tuple[int, int]:
        """Height and width of what the first layer reads."""
        return self.halved(self.layers - 1)

    @cached_property
    def positions(self) -> Positions:
        """See `Positions`: four times as many after each upsampling."""
        area = self.first_size[0] * self.first_size[1]
        layers = {f"conv{number}.weight": area << 2 * (number - 1) for number in range(1, self.layers + 1)}
        return {**layers, "final.weight": self.input[1] * self.input[2]}

    @model_validator(mode="after")
    def _has_enough_noise(self) -> Self:
        height, width = self.first_size
        if self.width * height * width > self.input[0] * self.input[1] * self.input[2]:
            raise ValueError(f"input: holds too little noise for {self.width} images of {height} x {width}")
        return self


def norm_tensors(name: str, channels: int) -> Tensors:
    """Batch norm's scale and shift."""
    return {f"{name}.weight": ("norm", (channels,)), f"{name}.bias": ("norm", (channels,))}
