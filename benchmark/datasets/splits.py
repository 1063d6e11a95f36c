"""Training and validation rows by seed, and the balanced examples that pruners score on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from benchmark.datasets.augment import drawn
from benchmark.datasets.dataset import Dataset, Examples
from benchmark.protocols.methods import Scoring
from benchmark.utils.errors import BadInput
from benchmark.utils.seeding import stream


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


def scoring_examples(dataset: Dataset, rows: Tensor, scoring: Scoring, rng: Generator) -> Examples:
    """Training examples to score on, drawn without replacement from `rows`: the same of every class, class by class,
    or as many from all. Raises BadInput if there are too few.
    """
    if scoring.draw == "balanced-from-training-set":
        picked = _balanced(dataset, rows, scoring.examples_per_class, rng)
    else:
        picked = rows[torch.randperm(len(rows), generator=rng)[: scoring.examples_per_class * dataset.classes]]
    stored, prepare = dataset.train_inputs[picked], dataset.prepare
    if scoring.augmentation == "as-in-training" and prepare.augmentation is not None:
        inputs = prepare.augmented(stored, *drawn(prepare.augmentation, len(picked), rng))
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
