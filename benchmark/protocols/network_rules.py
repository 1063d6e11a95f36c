"""What specs of networks are written with: initial values, batch norm, dropout, stems, how replicas share a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from benchmark.utils.strict_model import ADDED, Frozen

WeightRule = Literal[
    "glorot-normal",
    "glorot-uniform",
    "kaiming-normal-fan-in",
    "kaiming-normal-fan-out",
    "lecun-normal",
    "pytorch-uniform",
]
LinearRule = Literal[WeightRule, "normal-std-0.01"]
BiasRule = Literal["zeros", "pytorch-uniform"]

CudaStrategy = Literal["stacked", "streams"]
"""How replicas are trained side by side on CUDA: as one network, or each on a stream of its own.

Nothing has been measured on a GPU yet: `lotterybench speed` measures both on the device at hand. Until then the choice
follows from what the two do. Small layers leave a GPU idle, so making each kernel larger must win: stack. Large
convolutions fill it alone, and grouped convolutions have fewer fast kernels than plain ones in channels_last: streams.
"""


@dataclass(frozen=True)
class InitialRules:
    """Names of the rules that draw each kind of tensor; `scale` is batch norm's, whose shift starts at 0."""

    convolution: str
    linear: str
    bias: str
    scale: Literal["ones", "uniform-0-1"] = "ones"


class BatchNormSpec(Frozen):
    """Batch normalisation after every convolution; shifts start at 0, running mean and variance at 0 and 1."""

    scale: Literal["ones", "uniform-0-1"]
    momentum: float = Field(gt=0, le=1, description="weight of the newest batch in the running statistics")
    epsilon: float = Field(gt=0)


class DropoutSpec(Frozen):
    """Units set to zero at random while training, the others scaled by 1 / (1 - rate).

    `scaled: pre-activations-of-evaluation`: units are not scaled while training; evaluation multiplies what the layers
    behind them compute, biases included, by 1 - rate. `errors: to-all-units`: back-propagation does not know which
    units were dropped. Both are what the released code of SET does.
    """

    rate: float = Field(gt=0, lt=1)
    after: Literal["hidden-linear-layers", "pools-and-hidden-linear-layers"]
    scaled: Annotated[Literal["units-of-training", "pre-activations-of-evaluation"], ADDED] = "units-of-training"
    errors: Annotated[Literal["to-units-left", "to-all-units"], ADDED] = "to-units-left"

    @property
    def is_usual(self) -> bool:
        """Whether it is the dropout that every framework has."""
        return self.scaled == "units-of-training" and self.errors == "to-units-left"


def _usual(spec: DropoutSpec | None) -> DropoutSpec | None:
    if spec is not None and not spec.is_usual:
        raise ValueError("scaled and errors: other than usual in fully connected networks only")
    return spec


UsualDropout = Annotated[DropoutSpec | None, AfterValidator(_usual)]
"""Dropout of networks on images, or none."""


class StemSpec(Frozen):
    """The first convolution of a ResNet. CIFAR: 3, 1, none. ImageNet: 7, 2, 3x3-stride-2."""

    kernel: Literal[3, 7]
    stride: Literal[1, 2]
    max_pool: Literal["none", "3x3-stride-2"]
