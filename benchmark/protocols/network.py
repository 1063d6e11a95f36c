"""Which network a protocol means, by fields, because one name hides several networks. No torch.

LTH's "Resnet-18" is ResNet-20, GraSP's ResNet-32 has twice the usual width, and five repositories mean five heads by
VGG. Each family is one class; `NetworkSpec` is their union, told apart by `name`. `multiply_adds` is what a plan needs
to guess a training's time before anything was measured.

Shapes of a network's weights, from its fields alone. No torch: protocols are read without it.

`benchmark.networks` builds the same tensors, and tests hold the two together.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from benchmark.utils.strict_model import Frozen

WeightRule = Literal["glorot-normal", "kaiming-normal-fan-in", "kaiming-normal-fan-out", "pytorch-uniform"]
LinearRule = Literal[
    "glorot-normal", "kaiming-normal-fan-in", "kaiming-normal-fan-out", "pytorch-uniform", "normal-std-0.01"
]
BiasRule = Literal["zeros", "pytorch-uniform"]


class MlpSpec(Frozen):
    """Fully connected networks. LeNet-300-100 is widths [784, 300, 100, 10]."""

    name: Literal["lenet-300-100", "residual-mlp", "mlp"]
    initialiser: Literal["glorot-normal", "pytorch-linear"]
    bias: Literal["zeros", "pytorch-linear"]
    widths: tuple[int, ...] = Field(min_length=2, description="units per layer, input first")

    @property
    def has_batch_norm(self) -> bool:
        """Whether the network keeps running statistics."""
        return False

    @property
    def multiply_adds(self) -> int:
        """Multiplications of one forward pass of one example."""
        return sum(a * b for a, b in pairwise(self.widths))


class DropoutSpec(Frozen):
    """Units set to zero at random while training, the others scaled by 1 / (1 - rate)."""

    rate: float = Field(gt=0, lt=1)
    after: Literal["hidden-linear-layers", "pools-and-hidden-linear-layers"]


class BatchNormSpec(Frozen):
    """Batch normalisation after every convolution; shifts start at 0, running mean and variance at 0 and 1."""

    scale: Literal["ones", "uniform-0-1"]
    momentum: float = Field(gt=0, le=1, description="weight of the newest batch in the running statistics")
    epsilon: float = Field(gt=0)


class ImageNetworkSpec(Frozen):
    """What all networks on images state. `input` is (channels, height, width)."""

    input: tuple[int, int, int]
    classes: int = Field(gt=1)
    initialiser: WeightRule = Field(description="of convolution weights")
    linear_initialiser: LinearRule
    bias: BiasRule

    @property
    def has_batch_norm(self) -> bool:
        """Whether the network keeps running statistics."""
        return hasattr(self, "batch_norm")


class LeNet5Spec(ImageNetworkSpec):
    """LeNet-5-Caffe: 20 and 50 convolutions 5x5 without padding, each max-pooled, then 500 hidden units."""

    name: Literal["lenet-5-caffe"]
    relu_after_convolutions: bool = Field(description="Caffe's and SNIP's networks have none: only the hidden layer's")

    @property
    def flat(self) -> int:
        """Inputs of the first linear layer."""
        return 50 * _lenet5_side(self.input[1]) * _lenet5_side(self.input[2])

    @property
    def multiply_adds(self) -> int:
        """Multiplications of one forward pass of one example."""
        channels, height, width = self.input
        first = 20 * channels * 25 * (height - 4) * (width - 4)
        second = 50 * 20 * 25 * ((height - 4) // 2 - 4) * ((width - 4) // 2 - 4)
        return first + second + self.flat * 500 + 500 * self.classes


def _lenet5_side(side: int) -> int:
    return ((side - 4) // 2 - 4) // 2


class ConvSpec(ImageNetworkSpec):
    """LTH's Conv-2, Conv-4, Conv-6: pairs of 3x3 convolutions, a max-pool after each, two hidden layers of 256."""

    name: Literal["conv-2", "conv-4", "conv-6"]
    dropout: DropoutSpec | None

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Channels of the convolutions between max-pools."""
        return ((64, 64), (128, 128), (256, 256))[: int(self.name[-1]) // 2]

    @property
    def multiply_adds(self) -> int:
        """Multiplications of one forward pass of one example."""
        convolutions, flat = _grouped(self.input, self.groups)
        return convolutions + sum(a * b for a, b in pairwise((flat, 256, 256, self.classes)))


_VGG_CONVOLUTIONS = {
    "vgg-11": (1, 1, 2, 2, 2),
    "vgg-13": (2,) * 5,
    "vgg-16": (2, 2, 3, 3, 3),
    "vgg-19": (2, 2, 4, 4, 4),
}


class VggSpec(ImageNetworkSpec):
    """VGG with batch norm: five groups of 3x3 convolutions, 2x2 max-pools between them, `last_pool` after them.

    CIFAR heads are one linear layer after average-2x2 (open_lth, SynFlow, Liu et al., GraSP). Tiny-ImageNet's is
    max-2x2 with hidden layers of 1024 and dropout in SynFlow's code.
    """

    name: Literal["vgg-11", "vgg-13", "vgg-16", "vgg-19"]
    convolution_bias: bool
    batch_norm: BatchNormSpec
    last_pool: Literal["average-2x2", "average-4x4", "max-2x2"]
    hidden: tuple[int, ...] = Field(description="units of hidden linear layers")
    dropout: DropoutSpec | None

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Channels of the convolutions between max-pools."""
        counts = _VGG_CONVOLUTIONS[self.name]
        return tuple((width,) * count for width, count in zip((64, 128, 256, 512, 512), counts, strict=True))

    @property
    def head(self) -> tuple[int, ...]:
        """Inputs of the first linear layer, hidden units, classes."""
        pool = int(self.last_pool[-1])
        return 512 * (self.input[1] // 16 // pool) * (self.input[2] // 16 // pool), *self.hidden, self.classes

    @property
    def multiply_adds(self) -> int:
        """Multiplications of one forward pass of one example."""
        return _grouped(self.input, self.groups)[0] + sum(a * b for a, b in pairwise(self.head))

    @model_validator(mode="after")
    def _something_left(self) -> Self:
        if self.head[0] == 0:
            raise ValueError(f"input {self.input[1]}x{self.input[2]} is too small for last_pool {self.last_pool}")
        if self.dropout is not None and self.dropout.after != "hidden-linear-layers":
            raise ValueError("dropout.after: VGG drops after hidden-linear-layers only")
        return self


class StemSpec(Frozen):
    """The first convolution of a ResNet. CIFAR: 3, 1, none. ImageNet: 7, 2, 3x3-stride-2."""

    kernel: Literal[3, 7]
    stride: Literal[1, 2]
    max_pool: Literal["none", "3x3-stride-2"]


class ResNetSpec(ImageNetworkSpec):
    """ResNets of basic blocks (He et al. 2016, arXiv 1512.03385). Convolutions have no bias.

    ResNet-20 to -56: three stages of 16, 32 and 64 times `width` channels. ResNet-18: four stages of 64 to 512.
    `shortcut` is used where a stage starts: option A (zero-padding: every second pixel, new channels zero) or option B
    (convolution 1x1 with batch norm).
    """

    name: Literal["resnet-18", "resnet-20", "resnet-32", "resnet-44", "resnet-56"]
    width: int = Field(gt=0)
    shortcut: Literal["zero-padding", "convolution"]
    stem: StemSpec
    batch_norm: BatchNormSpec

    @property
    def stages(self) -> tuple[tuple[int, int], ...]:
        """(channels, blocks) of each stage; the first block of all but the first halves height and width."""
        if self.name == "resnet-18":
            return tuple((64 * self.width * 2**i, 2) for i in range(4))
        return tuple((16 * self.width * 2**i, (int(self.name[-2:]) - 2) // 6) for i in range(3))

    @property
    def multiply_adds(self) -> int:
        """Multiplications of one forward pass of one example."""
        channels, area = self.stages[0][0], self.input[1] * self.input[2] // self.stem.stride**2
        total = self.input[0] * channels * self.stem.kernel**2 * area
        area //= 1 if self.stem.max_pool == "none" else 4
        for number, (width, blocks) in enumerate(self.stages):
            area //= 4 if number else 1
            convolution = 9 * width * width
            shortcut = channels * width if channels != width and self.shortcut == "convolution" else 0
            total += area * (9 * channels * width + shortcut + (2 * blocks - 1) * convolution)
            channels = width
        return total + channels * self.classes


def _grouped(size: tuple[int, int, int], groups: tuple[tuple[int, ...], ...]) -> tuple[int, int]:
    """(multiplications of 3x3 convolutions in groups with 2x2 pools between, values after a pool behind the last)."""
    channels, area, total = size[0], size[1] * size[2], 0
    for group in groups:
        for width in group:
            total += 9 * channels * width * area
            channels = width
        area //= 4
    return total, channels * area


NetworkSpec = Annotated[MlpSpec | LeNet5Spec | ConvSpec | VggSpec | ResNetSpec, Field(discriminator="name")]
NETWORK_NAMES = tuple(
    name
    for family in (MlpSpec, LeNet5Spec, ConvSpec, VggSpec, ResNetSpec)
    for name in family.model_fields["name"].annotation.__args__  # type: ignore[union-attr]
)

Shapes = dict[str, tuple[int, ...]]
Kind = Literal["convolution", "shortcut", "linear", "bias"]
Tensors = dict[str, tuple[Kind, tuple[int, ...]]]

SETS: dict[str, tuple[Kind, ...]] = {
    "weights": ("convolution", "shortcut", "linear"),
    "weights-and-biases": ("convolution", "shortcut", "linear", "bias"),
    "convolutions": ("convolution",),
}
"""What `pruning.prunable` may name instead of listing tensors; batch norm's are never among them.

`convolutions` leaves out the 1x1 convolutions of shortcuts, as The Lottery Ticket Hypothesis does.
"""


def prunable(network: NetworkSpec, chosen: str) -> Shapes:
    """Name and shape of every tensor of one of the `SETS`, in the network's own order. KeyError for another name."""
    kinds = SETS[chosen]
    return {name: shape for name, (kind, shape) in _tensors(network).items() if kind in kinds}


def _tensors(network: NetworkSpec) -> Tensors:
    if isinstance(network, MlpSpec):
        return _linear("fc", network.widths)
    if isinstance(network, ResNetSpec):
        return _resnet(network)
    if isinstance(network, LeNet5Spec):
        first = _convolution("conv1", (20, network.input[0], 5, 5), True)
        return {**first, **_convolution("conv2", (50, 20, 5, 5), True), **_head((network.flat, 500, network.classes))}
    if isinstance(network, ConvSpec):
        side = 2 ** len(network.groups)
        flat = network.groups[-1][-1] * (network.input[1] // side) * (network.input[2] // side)
        return {**_grouped_tensors(network.groups, network.input[0], True), **_head((flat, 256, 256, network.classes))}
    assert isinstance(network, VggSpec)
    return {**_grouped_tensors(network.groups, network.input[0], network.convolution_bias), **_head(network.head)}


def _convolution(name: str, shape: tuple[int, ...], bias: bool, kind: Kind = "convolution") -> Tensors:
    own: Tensors = {f"{name}.weight": (kind, shape)}
    return {**own, f"{name}.bias": ("bias", shape[:1])} if bias else own


def _linear(prefix: str, widths: tuple[int, ...]) -> Tensors:
    found: Tensors = {}
    for number, (inputs, outputs) in enumerate(pairwise(widths), start=1):
        name = prefix if len(widths) == 2 and prefix.startswith("head") else f"{prefix}{number}"
        found[f"{name}.weight"] = ("linear", (outputs, inputs))
        found[f"{name}.bias"] = ("bias", (outputs,))
    return found


def _head(widths: tuple[int, ...]) -> Tensors:
    return _linear("head.fc", widths)


def _grouped_tensors(groups: tuple[tuple[int, ...], ...], channels: int, bias: bool) -> Tensors:
    found: Tensors = {}
    for number, width in enumerate((width for group in groups for width in group), start=1):
        found |= _convolution(f"conv{number}", (width, channels, 3, 3), bias)
        channels = width
    return found


def _resnet(network: ResNetSpec) -> Tensors:
    channels, kernel = network.stages[0][0], network.stem.kernel
    found = _convolution("conv", (channels, network.input[0], kernel, kernel), False)
    for number, (width, blocks) in enumerate(network.stages, start=1):
        for position in range(1, blocks + 1):
            block = f"stage{number}.block{position}"
            changes = channels != width or (number > 1 and position == 1)
            found |= _convolution(f"{block}.conv1", (width, channels, 3, 3), False)
            found |= _convolution(f"{block}.conv2", (width, width, 3, 3), False)
            if changes and network.shortcut == "convolution":
                found |= _convolution(f"{block}.shortcut", (width, channels, 1, 1), False, "shortcut")
            channels = width
    return {**found, "fc.weight": ("linear", (network.classes, channels)), "fc.bias": ("bias", (network.classes,))}


def count(shapes: Shapes) -> int:
    """Weights in all tensors."""
    return sum(prod(shape) for shape in shapes.values())
