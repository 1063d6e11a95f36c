"""A data set in memory as a protocol wants it: examples with labels, rows for training, validation and scoring."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from benchmark.datasets.augment import Preparation, drawn
from benchmark.datasets.source import source_of
from benchmark.protocols import Protocol
from benchmark.protocols.analysis import ANALYSES
from benchmark.protocols.methods import Scoring
from benchmark.protocols.recipe import DATASETS
from benchmark.utils.errors import BadInput
from benchmark.utils.seeding import stream

RANDOM_EXAMPLES = 20_000  # more than any cache holds, less than a second to make


@dataclass(frozen=True)
class Examples:
    """Training examples for scoring. `inputs`: (n, *input shape), float; `labels`: (n,), int64, or images, float."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Dataset:
    """Training and test parts in memory. Inputs (n, *shape), float32 or, for images, uint8; labels (n,) int64.

    Labels may be images instead, (n, channels, height, width) float32; `classes` is then how many channels they have.
    `prepare` turns stored inputs into what networks read; as loaded it only makes bytes floats in [0, 1].
    """

    name: str
    train_inputs: Tensor
    train_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    classes: int
    digest: str
    prepare: Preparation = field(default_factory=Preparation)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return tuple(self.train_inputs.shape[1:])


@lru_cache(maxsize=4)
def load(name: str, root: Path) -> Dataset:
    """Load data set `name`, from `root` (the data root) where it needs files.

    Raises EnvironmentProblem naming the file that is missing, truncated or altered, and what to do.
    """
    train_x, train_y, test_x, test_y, digest = source_of(name).read(root)
    return Dataset(
        name,
        torch.from_numpy(train_x),
        torch.from_numpy(train_y),
        torch.from_numpy(test_x),
        torch.from_numpy(test_y),
        train_y.shape[1] if DATASETS.get(name).labels_are_images else int(train_y.max(initial=-1)) + 1,
        digest,
    )


def prepared(protocol: Protocol, root: Path) -> Dataset:
    """Load what `protocol.data` names. Raises EnvironmentProblem, or BadInput if the fields do not fit each other."""
    spec, network = protocol.data, protocol.network
    dataset = load(spec.name, root)
    if not DATASETS.get(spec.name).has_examples:
        empty = torch.empty(0, *network.input_shape)
        return replace(dataset, train_inputs=empty, test_inputs=empty, classes=network.outputs)
    shape = dataset.input_shape
    channels = shape[0] if len(shape) == 3 else 1
    if spec.mean is not None and len(spec.mean) != channels:
        raise BadInput(
            f"{protocol.key}: data.mean", f"{spec.name} has {channels} channel(s)", "Give one value for each"
        )
    if any(ANALYSES.get(each.analysis).makes_examples for each in protocol.analyses.values()):
        return replace(dataset, prepare=Preparation(spec.mean, spec.std, per_image=spec.per_image))
    wanted = network.input_shape
    classes = network.outputs
    # A flat example can be read as an image and an image as a flat example, but not one shape of image as another.
    if prod(wanted) != prod(shape) or (len(wanted) == len(shape) and wanted != shape):
        raise BadInput(f"{protocol.key}: network", f"reads {wanted}, but {spec.name} holds {shape}", "Make them agree")
    if classes != dataset.classes:
        what = "image channels" if DATASETS.get(spec.name).labels_are_images else "classes"
        raise BadInput(
            f"{protocol.key}: network", f"has {classes} {what}, {spec.name} {dataset.classes}", "Make them agree"
        )
    if spec.labels == "random-on-training-set":
        labels = random_labels(len(dataset.train_labels), classes)
        dataset = replace(dataset, train_labels=labels)
    return replace(dataset, prepare=Preparation(spec.mean, spec.std, spec.augmentation, spec.per_image))


def random_labels(examples: int, classes: int) -> Tensor:
    """A class for each of so many training examples, (examples,) int64, whatever they show: the same for all seeds.

    Their random order and not they are drawn, so that all classes are equally frequent and none is a better guess.
    """
    even = torch.arange(examples) % classes
    return even[torch.randperm(examples, generator=stream(0, "random labels"))]


def random_dataset(protocol: Protocol, examples: int = RANDOM_EXAMPLES) -> Dataset:
    """Random training and test examples as the protocol's data set holds them: bytes for images, else floats."""
    spec, network = protocol.data, protocol.network
    rng = np.random.default_rng(0)
    classes = network.outputs
    shape = network.input_shape
    if DATASETS.get(spec.name).labels_are_images:
        return _random_images(shape, classes)
    flat = len(shape) == 1 or DATASETS.get(spec.name).flat
    pixels = rng.integers(0, 256, (examples + 1000, *shape), dtype=np.uint8)
    inputs = torch.from_numpy(pixels)
    stored = inputs.reshape(len(inputs), -1).float() / 255 if flat else inputs
    labels = torch.from_numpy(rng.integers(0, classes, examples + 1000))
    prepare = Preparation(spec.mean, spec.std, spec.augmentation, spec.per_image)
    parts = (stored[:examples], labels[:examples], stored[examples:], labels[examples:])
    return Dataset("random", *parts, classes, "random", prepare)


def _random_images(shape: tuple[int, ...], channels: int) -> Dataset:
    """One image of random pixels, clean and noisy alike, behind random inputs of this shape."""
    rng = torch.Generator().manual_seed(0)
    inputs, image = torch.rand(1, *shape, generator=rng), torch.rand(1, channels, *shape[1:], generator=rng)
    return Dataset("random", inputs, image, inputs, image, channels, "random")


@dataclass(frozen=True)
class Split:
    """Row numbers into the data set's training part, each of shape (n,), int64."""

    training: Tensor
    validation: Tensor


def split(dataset: Dataset, validation: int, seed: int) -> Split:
    """Hold `validation` examples out at random by seed; with 0, training rows keep their stored order.

    Raises BadInput if nothing is left to train on.
    """
    rows = len(dataset.train_labels)
    if rows == 0:
        cause = f"the data set '{dataset.name}' holds no examples, and some are asked for"
        raise BadInput("data", cause, "Name a data set, or a pruner that needs nothing")
    if validation >= rows:
        raise BadInput(
            f"data.validation {validation}",
            f"data set {dataset.name} has {rows} training examples",
            "Hold fewer out for validation",
        )
    if validation == 0:
        return Split(torch.arange(rows), torch.empty(0, dtype=torch.int64))
    order = torch.randperm(rows, generator=stream(seed, "split"))
    return Split(order[validation:], order[:validation])


def scoring_examples(
    dataset: Dataset, rows: Tensor, scoring: Scoring, rng: Generator, count: int | None = None
) -> Examples:
    """Training examples to score on, drawn without replacement from `rows`: the same of every class, class by class,
    or as many from all; or `count` from all, where a method says how many. Draws of one `rng` contain each other.
    Raises BadInput if there are too few.
    """
    if count is not None and count > len(rows):
        cause = f"data set {dataset.name} has {len(rows)} training examples"
        raise BadInput(f"a method's examples {count}", cause, "Score on fewer")
    if scoring.draw == "balanced-from-training-set":
        picked = _balanced(dataset, rows, scoring.examples_per_class, rng)
    else:
        wanted = scoring.examples_per_class * dataset.classes if count is None else count
        picked = rows[torch.randperm(len(rows), generator=rng)[:wanted]]
    stored, prepare = dataset.train_inputs[picked], dataset.prepare
    if scoring.augmentation == "as-in-training" and prepare.augmentation is not None:
        inputs = prepare.augmented(stored, *drawn(prepare.augmentation, len(picked), stored.shape, rng))
    else:
        inputs = prepare(stored)
    return Examples(inputs, dataset.train_labels[picked])


def _balanced(dataset: Dataset, rows: Tensor, per_class: int, rng: Generator) -> Tensor:
    labels = dataset.train_labels[rows]
    chosen = []
    for label in range(dataset.classes):
        members = rows[labels == label]
        if len(members) < per_class:
            raise BadInput(
                f"pruning.scoring.examples_per_class {per_class}",
                f"class {label} of data set {dataset.name} has {len(members)} training examples",
                "Score on fewer",
            )
        chosen.append(members[torch.randperm(len(members), generator=rng)[:per_class]])
    return torch.cat(chosen)
