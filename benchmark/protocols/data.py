"""Which data a protocol uses and what is done to it before a network sees it. No torch."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from benchmark.utils.strict_model import ADDED, Frozen

GENERATED = ("mnist1d", "synthetic")
SAMPLE: Final = "cifar100-train-20-per-class"  # no test set: for analysis protocols only


class AugmentationSpec(Frozen):
    """What training images go through, drawn anew for every image and epoch; evaluation sees them as stored.

    Both orders have one distribution, but another image for the same draw; repositories differ, so it is a field.
    """

    crop_padding: int = Field(ge=0, description="pixels added on each side before a crop of the original size")
    padded_with: Literal["black", "mean"] = Field(description="pixel 0, or the value that standardisation maps to 0")
    flip: Literal["horizontal-half", "none"]
    order: Literal["crop-then-flip", "flip-then-crop"]

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.crop_padding == 0 and self.flip == "none":
            raise ValueError("neither crops nor flips: leave augmentation out")
        return self


class DataSpec(Frozen):
    """Data set, scaling and split. `validation` examples are held out of the training set.

    Scaling: unit-interval is pixel / 255; standardised subtracts `mean` from that and divides by `std`, one value per
    channel, in units of the unit interval.
    """

    name: Literal[
        "mnist", "fashion-mnist", "cifar10", "cifar100", "tiny-imagenet", "mnist1d", "synthetic",
        "cifar100-train-20-per-class",
    ]  # fmt: skip
    scaling: Literal["unit-interval", "as-generated", "standardised"]
    mean: Annotated[tuple[float, ...] | None, ADDED] = None
    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...] | None, ADDED] = None
    augmentation: Annotated[AugmentationSpec | None, ADDED] = None
    validation: int = Field(ge=0)
    split: Literal["random-by-seed", "none"]

    @model_validator(mode="after")
    def _split_matches(self) -> Self:
        if (self.validation > 0) != (self.split == "random-by-seed"):
            raise ValueError("validation > 0 needs split: random-by-seed, validation: 0 needs split: none")
        return self

    @model_validator(mode="after")
    def _scaling_matches(self) -> Self:
        if (self.mean is None) != (self.scaling != "standardised") or (self.mean is None) != (self.std is None):
            raise ValueError("scaling: standardised needs mean and std, other scalings have neither")
        if self.mean is not None and self.std is not None and len(self.mean) != len(self.std):
            raise ValueError(f"{len(self.mean)} means, {len(self.std)} std")
        if self.name in GENERATED and (self.scaling != "as-generated" or self.augmentation):
            raise ValueError(f"{self.name} is generated: scaling: as-generated, no augmentation")
        if self.name not in GENERATED and self.scaling == "as-generated":
            raise ValueError(f"{self.name} holds pixels: scaling is unit-interval or standardised")
        if self.name == "mnist" and self.augmentation:
            raise ValueError("mnist is held as flat vectors: no augmentation")
        return self
