"""Which network a protocol means, by fields, because one name hides several networks.

LTH's "Resnet-18" is ResNet-20, GraSP's ResNet-32 has twice the usual width, and five repositories mean five heads by
VGG. A family is one class here with all facts about it that need no torch: the fields of the YAML, tensors and their
shapes in order, multiply-adds, rules of initial values, how replicas are best trained side by side. Its module is
`benchmark.networks.<family>`, registered under the name in `family`; tests hold the two together.
"""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from benchmark.protocols.generators import DeepDecoderSpec, HourglassSpec
from benchmark.protocols.graph import (
    INPUT,
    Edge,
    Kind,
    Layered,
    Positions,
    Shapes,
    Tensors,
    convolution_tensors,
    grouped_positions,
    grouped_tensors,
    head_tensors,
    linear_positions,
    linear_tensors,
    sequence,
    weight_names,
)
from benchmark.protocols.network_rules import (
    BatchNormSpec,
    BiasRule,
    CudaStrategy,
    DropoutSpec,
    InitialRules,
    LinearRule,
    StemSpec,
    UsualDropout,
    WeightRule,
)
from benchmark.utils.strict_model import ADDED


class MlpSpec(Layered):
    """Fully connected networks. LeNet-300-100 is widths [784, 300, 100, 10]."""

    name: Literal["lenet-300-100", "residual-mlp", "mlp"]
    initialiser: Literal[
        "glorot-normal", "glorot-uniform", "kaiming-normal-fan-in", "lecun-normal", "normal-std-0.1", "pytorch-linear"
    ]
    bias: Literal["zeros", "pytorch-linear", "normal-by-depth"]
    widths: tuple[int, ...] = Field(min_length=2, description="units per layer, input first")
    dropout: Annotated[DropoutSpec | None, ADDED] = None
    planted: Annotated[Literal["circle"] | None, ADDED] = Field(
        default=None, description="a ticket hidden in the initial weights, see benchmark/networks/planted.py"
    )

    family: ClassVar[str] = "mlp"
    cuda_strategy: ClassVar[CudaStrategy] = "stacked"
    has_batch_norm: ClassVar[bool] = False

    @cached_property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.widths[:1]

    @cached_property
    def outputs(self) -> int:
        """Number of logits."""
        return self.widths[-1]

    @cached_property
    def initial_rules(self) -> InitialRules:
        """How initial values are drawn."""
        return InitialRules(self.initialiser, self.initialiser, self.bias)

    @cached_property
    def tensors(self) -> Tensors:
        """See `Tensors`."""
        return linear_tensors("fc", self.widths)

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """See `graph`: `residual-mlp` adds to each hidden layer after the first what it reads."""
        chain = sequence(weight_names(self.tensors))
        if self.name != "residual-mlp":
            return chain
        shortcuts = {edge: Edge(edge.source, edge.target) for edge in chain[1:-1]}
        return tuple(part for edge in chain for part in (edge, shortcuts.get(edge)) if part is not None)

    def reading(self, inputs: int) -> Self:
        """The network that reads only so many of its features."""
        return self.model_copy(update={"widths": (inputs, *self.widths[1:])})

    @cached_property
    def positions(self) -> Positions:
        """See `Positions`."""
        return linear_positions(self.tensors)

    @model_validator(mode="after")
    def _drops_where_it_can(self) -> Self:
        if self.dropout and (self.name == "residual-mlp" or self.dropout.after != "hidden-linear-layers"):
            raise ValueError("dropout: after hidden-linear-layers, and not in residual-mlp")
        fits = len(self.widths) == 5 and (self.widths[0], self.widths[-1]) == (2, 4) and min(self.widths[1:-1]) >= 20
        if self.planted and (self.name != "mlp" or not fits):
            raise ValueError("planted: circle is of an mlp of widths [2, 20 or more, the same, the same, 4]")
        return self


class ImageNetworkSpec(Layered):
    """What all networks on images state. `input` is (channels, height, width)."""

    input: tuple[PositiveInt, PositiveInt, PositiveInt]
    classes: int = Field(gt=1)
    initialiser: WeightRule = Field(description="of convolution weights")
    linear_initialiser: LinearRule
    bias: BiasRule

    cuda_strategy: ClassVar[CudaStrategy] = "streams"
    has_batch_norm: ClassVar[bool] = False

    @cached_property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.input

    @cached_property
    def outputs(self) -> int:
        """Number of logits."""
        return self.classes

    @cached_property
    def initial_rules(self) -> InitialRules:
        """How initial values are drawn."""
        return InitialRules(self.initialiser, self.linear_initialiser, self.bias)

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """See `graph`: one layer after another, but for ResNets."""
        return sequence(weight_names(self.tensors))

    @property
    def least_side(self) -> int:
        """Pixels of height and of width below which its pools leave nothing of an image."""
        return 1

    def reading(self, inputs: int) -> Self:  # noqa: ARG002
        """The network itself: features can be left out in front of a fully connected layer only."""
        return self

    @model_validator(mode="after")
    def _something_left(self) -> Self:
        (_, height, width), least = self.input, self.least_side
        if min(height, width) < least:
            raise ValueError(f"input: an image of {height} x {width} is too small, take {least} x {least} or more")
        return self


class BatchNormNetworkSpec(ImageNetworkSpec):
    """Networks on images with batch norm after every convolution."""

    batch_norm: BatchNormSpec

    has_batch_norm: ClassVar[bool] = True

    @cached_property
    def initial_rules(self) -> InitialRules:
        """How initial values are drawn."""
        return InitialRules(self.initialiser, self.linear_initialiser, self.bias, self.batch_norm.scale)


class LeNet5Spec(ImageNetworkSpec):
    """Two convolutions 5x5 without padding, each max-pooled, then hidden units: 20 and 50 channels and 500 units in
    LeNet-5-Caffe, 6 and 16 channels, 120 and 84 units in LeNet-5 (LeCun et al. 1998)."""

    name: Literal["lenet-5-caffe", "lenet-5"]
    relu_after_convolutions: bool = Field(description="Caffe's and SNIP's networks have none: only the hidden layer's")

    family: ClassVar[str] = "lenet5"
    cuda_strategy: ClassVar[CudaStrategy] = "stacked"

    @property
    def least_side(self) -> int:
        """16 pixels: less 4, halved, less 4, halved, is one."""
        return 16

    @cached_property
    def tensors(self) -> Tensors:
        """See `Tensors`."""
        first, second = self.channels
        convolutions = {
            **convolution_tensors("conv1", (first, self.input[0], 5, 5), True),
            **convolution_tensors("conv2", (second, first, 5, 5), True),
        }
        return {**convolutions, **head_tensors(self.head)}

    @property
    def channels(self) -> tuple[int, int]:
        """Of the two convolutions."""
        return (6, 16) if self.name == "lenet-5" else (20, 50)

    @property
    def head(self) -> tuple[int, ...]:
        """Inputs of the first linear layer, hidden units, classes."""
        flat = self.channels[1] * _lenet5_side(self.input[1]) * _lenet5_side(self.input[2])
        return flat, *((120, 84) if self.name == "lenet-5" else (500,)), self.classes

    @cached_property
    def positions(self) -> Positions:
        """See `Positions`."""
        height, width = self.input[1] - 4, self.input[2] - 4
        second = (height // 2 - 4) * (width // 2 - 4)
        return {"conv1.weight": height * width, "conv2.weight": second, **linear_positions(self.tensors)}


def _lenet5_side(side: int) -> int:
    return ((side - 4) // 2 - 4) // 2


class ConvSpec(ImageNetworkSpec):
    """LTH's Conv-2, Conv-4, Conv-6: pairs of 3x3 convolutions, a max-pool after each, two hidden layers of 256."""

    name: Literal["conv-2", "conv-4", "conv-6"]
    dropout: UsualDropout

    family: ClassVar[str] = "conv"

    @property
    def head(self) -> tuple[int, ...]:
        """Inputs of the first linear layer, hidden units, classes."""
        side = self.least_side
        return self.groups[-1][-1] * (self.input[1] // side) * (self.input[2] // side), 256, 256, self.classes

    @property
    def least_side(self) -> int:
        """One pixel after each pool."""
        return int(2 ** len(self.groups))

    @cached_property
    def tensors(self) -> Tensors:
        """See `Tensors`."""
        return {**grouped_tensors(self.groups, self.input[0], True), **head_tensors(self.head)}

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Channels of the convolutions between max-pools."""
        return ((64, 64), (128, 128), (256, 256))[: int(self.name[-1]) // 2]

    @cached_property
    def positions(self) -> Positions:
        """See `Positions`."""
        return {**grouped_positions(self.input, self.groups), **linear_positions(self.tensors)}


_VGG_CONVOLUTIONS = {
    "vgg-11": (1, 1, 2, 2, 2),
    "vgg-13": (2,) * 5,
    "vgg-16": (2, 2, 3, 3, 3),
    "vgg-19": (2, 2, 4, 4, 4),
}


class VggShapedSpec(BatchNormNetworkSpec):
    """Groups of 3x3 convolutions with batch norm, 2x2 max-pools between them, `last_pool` after them, linear layers.

    Pools leave out a last row or column that makes no pair.
    """

    convolution_bias: bool
    last_pool: Literal["average-2x2", "average-4x4", "max-2x2"]
    hidden: tuple[int, ...] = Field(description="units of hidden linear layers")
    dropout: UsualDropout

    family: ClassVar[str] = "vgg"

    @cached_property
    def tensors(self) -> Tensors:
        """See `Tensors`."""
        return {**grouped_tensors(self.groups, self.input[0], self.convolution_bias), **head_tensors(self.head)}

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Channels of the convolutions between max-pools."""
        raise NotImplementedError

    @property
    def head(self) -> tuple[int, ...]:
        """Inputs of the first linear layer, hidden units, classes."""
        side = self.least_side
        flat = self.groups[-1][-1] * (self.input[1] // side) * (self.input[2] // side)
        return flat, *self.hidden, self.classes

    @property
    def least_side(self) -> int:
        """One pixel after the last pool."""
        return int(2 ** (len(self.groups) - 1)) * int(self.last_pool[-1])

    @cached_property
    def positions(self) -> Positions:
        """See `Positions`."""
        return {**grouped_positions(self.input, self.groups), **linear_positions(self.tensors)}

    @model_validator(mode="after")
    def _drops_where_it_can(self) -> Self:
        if self.dropout is not None and self.dropout.after != "hidden-linear-layers":
            raise ValueError("dropout.after: VGG drops after hidden-linear-layers only")
        return self


class VggSpec(VggShapedSpec):
    """The five groups of Simonyan & Zisserman, 64 to 512 channels.

    CIFAR heads are one linear layer after average-2x2 (open_lth, SynFlow, Liu et al., GraSP). Tiny-ImageNet's is
    max-2x2 with hidden layers of 1024 and dropout in SynFlow's code.
    """

    name: Literal["vgg-11", "vgg-13", "vgg-16", "vgg-19"]

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Channels of the convolutions between max-pools."""
        counts = _VGG_CONVOLUTIONS[self.name]
        return tuple((width,) * count for width, count in zip((64, 128, 256, 512, 512), counts, strict=True))


class SmallVggSpec(VggShapedSpec):
    """A VGG for small images, with as many groups and channels as `widths` says."""

    name: Literal["small-vgg"]
    widths: tuple[Annotated[tuple[PositiveInt, ...], Field(min_length=1)], ...] = Field(
        min_length=1, description="channels of each group's convolutions"
    )

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Channels of the convolutions between max-pools."""
        return self.widths


class ResNetSpec(BatchNormNetworkSpec):
    """ResNets of basic blocks (He et al. 2016, arXiv 1512.03385). Convolutions have no bias.

    ResNet-20 to -56: three stages of 16, 32 and 64 times `width` channels. ResNet-18: four stages of 64 to 512.
    `shortcut` is used where a stage starts: option A (zero-padding: every second pixel, new channels zero) or option B
    (convolution 1x1 with batch norm). `first_stage: shortcut`: also where the first one does, whose shape does not
    change, as TensorFlow's official model has it.
    """

    name: Literal["resnet-18", "resnet-20", "resnet-32", "resnet-44", "resnet-56"]
    width: int = Field(gt=0)
    shortcut: Literal["zero-padding", "convolution"]
    first_stage: Annotated[Literal["identity", "shortcut"], ADDED] = "identity"
    stem: StemSpec

    family: ClassVar[str] = "resnet"

    @cached_property
    def tensors(self) -> Tensors:
        """See `Tensors`."""
        channels, kernel = self.stages[0][0], self.stem.kernel
        tensors = convolution_tensors("conv", (channels, self.input[0], kernel, kernel), False)
        for number, (width, blocks) in enumerate(self.stages, start=1):
            for position in range(1, blocks + 1):
                block = f"stage{number}.block{position}"
                changes = channels != width or (position == 1 and (number > 1 or self.first_stage == "shortcut"))
                tensors |= convolution_tensors(f"{block}.conv1", (width, channels, 3, 3), False)
                tensors |= convolution_tensors(f"{block}.conv2", (width, width, 3, 3), False)
                if changes and self.shortcut == "convolution":
                    tensors |= convolution_tensors(f"{block}.shortcut", (width, channels, 1, 1), False, "shortcut")
                channels = width
        return {**tensors, "fc.weight": ("linear", (self.classes, channels)), "fc.bias": ("bias", (self.classes,))}

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """See `graph`: the shortcut of a block ends in the units of its second convolution."""
        edges, before = [Edge(INPUT, "conv", "conv.weight")], "conv"
        for name in weight_names(self.tensors):
            block, _, layer = name.removesuffix(".weight").rpartition(".")
            if layer == "conv1" and block:
                shortcut = f"{block}.shortcut.weight"
                edges.append(Edge(before, f"{block}.1", name))
                edges.append(Edge(before, block, shortcut if shortcut in self.tensors else None))
            elif layer == "conv2":
                edges.append(Edge(f"{block}.1", block, name))
                before = block
        return (*edges, Edge(before, "fc", "fc.weight"))

    @property
    def stages(self) -> tuple[tuple[int, int], ...]:
        """(channels, blocks) of each stage; the first block of all but the first halves height and width."""
        if self.name == "resnet-18":
            return tuple((64 * self.width * 2**i, 2) for i in range(4))
        return tuple((16 * self.width * 2**i, (int(self.name[-2:]) - 2) // 6) for i in range(3))

    @cached_property
    def positions(self) -> Positions:
        """See `Positions`."""
        area = self.input[1] * self.input[2] // self.stem.stride**2
        found = {"conv.weight": area, **linear_positions(self.tensors)}
        area //= 1 if self.stem.max_pool == "none" else 4
        for name in (name for name in weight_names(self.tensors) if name.startswith("stage")):
            stage = int(name.removeprefix("stage").partition(".")[0])
            found[name] = area >> 2 * (stage - 1)
        return found


FAMILIES = (MlpSpec, LeNet5Spec, ConvSpec, VggSpec, SmallVggSpec, ResNetSpec, HourglassSpec, DeepDecoderSpec)
NetworkSpec = Annotated[
    MlpSpec | LeNet5Spec | ConvSpec | VggSpec | SmallVggSpec | ResNetSpec | HourglassSpec | DeepDecoderSpec,
    Field(discriminator="name"),
]
NETWORK_NAMES = tuple(
    name
    for family in FAMILIES
    for name in family.model_fields["name"].annotation.__args__  # type: ignore[union-attr]
)

SETS: dict[str, tuple[Kind, ...]] = {
    "weights": ("convolution", "shortcut", "linear"),
    "weights-and-biases": ("convolution", "shortcut", "linear", "bias"),
    "convolutions": ("convolution",),
    "parameters": ("convolution", "shortcut", "linear", "bias", "norm"),
}
"""What `pruning.prunable` may name instead of listing tensors; batch norm's are among `parameters` of generators only.

`convolutions` leaves out the 1x1 convolutions of shortcuts, as The Lottery Ticket Hypothesis does.
"""


def prunable(network: NetworkSpec, chosen: str) -> Shapes:
    """Name and shape of every tensor of one of the `SETS`, in the network's own order. KeyError for another name."""
    kinds = SETS[chosen]
    return {name: shape for name, (kind, shape) in network.tensors.items() if kind in kinds}


def count(shapes: Shapes) -> int:
    """Weights in all tensors."""
    return sum(prod(shape) for shape in shapes.values())
