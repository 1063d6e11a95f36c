"""The sections of a protocol that say how every network is trained: data, recipe, evaluation."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from benchmark.utils.registry import Registry
from benchmark.utils.strict_model import ADDED, Frozen

Unit = Literal["step", "epoch"]


def _rising_from_above_0(ends: tuple[float, float]) -> tuple[float, float]:
    if not 0 < ends[0] <= ends[1]:
        raise ValueError(f"{list(ends)} is no range of numbers above 0, lowest first")
    return ends


class Drops(Frozen):
    """The learning rate is multiplied by `factor` from each of these steps or epochs on (both counted from 0)."""

    at: tuple[int, ...] = Field(min_length=1)
    unit: Unit
    factor: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if list(self.at) != sorted(set(self.at)) or self.at[0] < 1:
            raise ValueError("at must rise from 1 on")
        return self


class WarmUp(Frozen):
    """The learning rate grows linearly over the first `length` steps or epochs, changing at every step.

    `first`: update 0 has rate zero (open_lth: t / length), or one step's worth ((t + 1) / length).
    """

    length: int = Field(gt=0)
    unit: Unit
    first: Literal["zero", "one-step"]


class Cosine(Frozen):
    """Half a cosine from the learning rate to `floor` at the recipe's last step (arXiv 1608.03983, no restarts).

    `per`: changed at every step or at every epoch. `spans`: all steps, or those after warm-up.
    """

    floor: float = Field(ge=0)
    per: Unit
    spans: Literal["all-steps", "after-warm-up"]


class Recipe(Frozen):
    """How every network of the protocol is trained. Weight decay is of every parameter, biases too."""

    optimizer: Literal["adam", "sgd"]
    learning_rate: float = Field(gt=0)
    adam_betas: tuple[float, float] = (0.9, 0.999)
    adam_epsilon: float = Field(default=1e-8, gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    nesterov: Annotated[bool, ADDED] = False
    drops: Annotated[Drops | None, ADDED] = None
    warm_up: Annotated[WarmUp | None, ADDED] = None
    cosine: Annotated[Cosine | None, ADDED] = None
    weight_decay: float = Field(ge=0)
    decay: Annotated[Literal["of-gradient", "of-weights"], ADDED] = Field(
        default="of-gradient",
        description="weight_decay times the parameter is added to its gradient, or taken off the parameter itself at "
        "every update, whatever the learning rate",
    )
    batch_size: int = Field(gt=0)
    order: Literal["shuffled-each-epoch", "as-stored"]
    last_partial_batch: Literal["keep", "drop"]
    steps: int = Field(gt=0, description="optimizer updates")
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        description="of training and evaluation: tf32 in matrix products on CUDA, bf16 by autocast; scoring is fp32"
    )
    arithmetic: Annotated[Literal["torch", "portable"], ADDED] = Field(
        default="torch",
        description="torch: bits are those of the machine at hand; portable: a fixed order of sums and own functions "
        "on a CPU, the same bits on every machine (fully connected networks and LeNet-5, in fp32 only)",
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise ValueError("nesterov needs optimizer: sgd and momentum > 0")
        if self.decay == "of-weights" and self.optimizer != "sgd":
            raise ValueError("decay: of-weights needs optimizer: sgd")
        if self.decay == "of-weights" and self.arithmetic == "portable":
            raise ValueError("arithmetic: portable has decay: of-gradient only")
        if self.cosine and self.drops:
            raise ValueError("cosine and drops exclude each other")
        if self.cosine and self.cosine.floor >= self.learning_rate:
            raise ValueError(f"cosine.floor {self.cosine.floor} is not below learning_rate {self.learning_rate}")
        if self.arithmetic == "portable" and self.precision != "fp32":
            raise ValueError(f"arithmetic: portable is fp32, not {self.precision}")
        if self.cosine and self.cosine.spans == "after-warm-up" and self.warm_up is None:
            raise ValueError("cosine.spans: after-warm-up needs warm_up")
        return self


NO_TRAINING: Final = Recipe.model_construct(
    optimizer="sgd", learning_rate=0.0, weight_decay=0.0, batch_size=0, order="as-stored", last_partial_batch="keep",
    steps=0, precision="fp32",
)  # fmt: skip
"""Stands in a protocol that trains nothing: no updates. No document can spell it, because it breaks the bounds."""


class DataFacts:
    """What a protocol has to know of the data set that it names; the rest is `benchmark.datasets.source.DataSource`.

    `generated`: made on the spot, not from files, and not of pixels. `flat`: an example is a vector. `test_examples`:
    in the test set, which evaluations are priced by; with 0, only a protocol that trains nothing can use it.
    `has_examples`: without any, only pruners that need nothing can be asked. `labels_are_images`: an example's label is
    an image in [0, 1] and no class; inputs are floats.
    """

    generated: ClassVar[bool] = False
    flat: ClassVar[bool] = False
    test_examples: ClassVar[int] = 10_000
    has_examples: ClassVar[bool] = True
    labels_are_images: ClassVar[bool] = False


DATASETS: Registry[type[DataFacts]] = Registry(
    "data set", "benchmark.datasets", besides=("augment", "cifar_lossless", "dataset", "noisy_image", "source")
)
"""Every data set by name, each in the module of that name, which loads neither torch nor numpy."""


def _known_data_set(name: str) -> str:
    if name not in DATASETS:
        raise ValueError(f"there is no such data set, only {', '.join(DATASETS.names())}")
    return name


Range = Annotated[tuple[float, float], AfterValidator(_rising_from_above_0)]


class ResizedCropSpec(Frozen):
    """Crops of random size and shape, enlarged to the image's by bilinear interpolation (RandomResizedCrop, Szegedy et
    al. 2015, arXiv 1409.4842; drawn as torchvision draws).

    Of an image's `area` a share is drawn evenly, of the `aspect`, width over height, the logarithm. What does not fit
    into the image is drawn again, ten times in all; then the whole image is taken.
    """

    area: Range
    aspect: Range

    @model_validator(mode="after")
    def _of_an_image(self) -> Self:
        if self.area[1] > 1:
            raise ValueError(f"area: {self.area[1]:g} of an image is more than there is")
        if not self.aspect[0] <= 1 <= self.aspect[1]:
            raise ValueError("aspect: a range around 1, so that a whole image is among the crops")
        return self


class AugmentationSpec(Frozen):
    """What training images go through, drawn anew for every image and epoch; evaluation sees them as stored.

    Both orders have one distribution, but another image for the same draw; repositories differ, so it is a field.
    """

    crop_padding: int = Field(ge=0, description="pixels added on each side before a crop of the original size")
    padded_with: Literal["black", "mean"] = Field(description="pixel 0, or the value that standardisation maps to 0")
    flip: Literal["horizontal-half", "none"]
    order: Literal["crop-then-flip", "flip-then-crop"]
    resized: Annotated[ResizedCropSpec | None, ADDED] = None

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.crop_padding == 0 and self.flip == "none" and self.resized is None:
            raise ValueError("neither crops nor flips: leave augmentation out")
        if self.crop_padding and self.resized:
            raise ValueError("crop_padding: 0, where crops are resized")
        if self.order != "crop-then-flip" and self.resized:
            raise ValueError("order: crop-then-flip, where crops are resized")
        return self


class DataSpec(Frozen):
    """Data set, scaling and split. `validation` examples are held out of the training set.

    Scaling: unit-interval is pixel / 255; standardised subtracts `mean` from that and divides by `std`, one value per
    channel, in units of the unit interval; standardised-per-image subtracts each image's own mean and divides by its
    own deviation, over all pixels and channels, after cropping and flipping.

    `labels: random-on-training-set`: every training example, held-out ones too, has a class drawn at random, once for
    all seeds and evenly, whatever it shows (Zhang et al. 2017, arXiv 1611.03530); test examples keep theirs.
    """

    name: Annotated[str, AfterValidator(_known_data_set)]
    scaling: Literal["unit-interval", "as-generated", "standardised", "standardised-per-image"]
    mean: Annotated[tuple[float, ...] | None, ADDED] = None
    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...] | None, ADDED] = None
    augmentation: Annotated[AugmentationSpec | None, ADDED] = None
    validation: int = Field(ge=0)
    split: Literal["random-by-seed", "none"]
    labels: Annotated[Literal["true", "random-on-training-set"], ADDED] = "true"

    @property
    def per_image(self) -> bool:
        """Whether each image is standardised by itself."""
        return self.scaling == "standardised-per-image"

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
        facts = DATASETS.get(self.name)
        if facts.generated and (self.scaling != "as-generated" or self.augmentation):
            raise ValueError(f"{self.name} is generated: scaling: as-generated, no augmentation")
        if facts.labels_are_images and (self.scaling != "as-generated" or self.augmentation):
            raise ValueError(f"{self.name} holds images in [0, 1]: scaling: as-generated, no augmentation")
        if not (facts.generated or facts.labels_are_images) and self.scaling == "as-generated":
            raise ValueError(f"{self.name} holds pixels: scaling is unit-interval or standardised")
        if self.per_image and self.augmentation and self.augmentation.padded_with != "black":
            raise ValueError("scaling: standardised-per-image comes after cropping, so padded_with is black")
        if facts.labels_are_images and self.labels != "true":
            raise ValueError(f"{self.name} has images as labels: labels: true")
        if facts.flat and self.augmentation:
            raise ValueError(f"{self.name} is held as flat vectors: no augmentation")
        return self


class EvaluationSpec(Frozen):
    """When networks are evaluated, and which accuracy the paper reports."""

    first: int = Field(ge=0, description="updates done before the first evaluation")
    every: int = Field(gt=0, description="updates between evaluations")
    test_every: int = Field(gt=0, description="updates between evaluations on the test set, a multiple of `every`")
    test_at_validation_minima: bool = Field(description="also test whenever the validation loss is the least so far")
    reported: Literal["last", "best", "early-stop"]
    early_stop: Literal["minimum-validation-loss", "none"]

    def steps(self, total: int) -> tuple[int, ...]:
        """Numbers of updates after which a run of `total` updates is evaluated; the end if none is due."""
        return tuple(range(self.first, total + 1, self.every)) or (total,)

    def test_steps(self, total: int) -> tuple[int, ...]:
        """Those of `steps` at which the test set is always seen; the last one is among them."""
        steps = self.steps(total)
        return (*steps[:: self.test_every // self.every], *steps[-1:])

    @model_validator(mode="after")
    def _multiple(self) -> Self:
        if self.test_every % self.every:
            raise ValueError(f"test_every {self.test_every} is no multiple of every {self.every}")
        if (self.early_stop == "none") == self.test_at_validation_minima:
            raise ValueError("early_stop and test_at_validation_minima go together")
        return self


NO_EVALUATION: Final = EvaluationSpec.model_construct(
    first=0, every=0, test_every=0, test_at_validation_minima=False, reported="last", early_stop="none"
)
"""Stands in a protocol that trains nothing, and so evaluates nothing. No document can spell it."""
