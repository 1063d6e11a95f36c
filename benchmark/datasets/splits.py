"""Training and validation rows by seed, and the balanced examples that pruners score on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from benchmark.api import Examples
from benchmark.datasets.loading import Dataset
from benchmark.errors import BadInput
from benchmark.streams import stream


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


def scoring_examples(dataset: Dataset, rows: Tensor, per_class: int, rng: Generator) -> Examples:
    """`per_class` training examples of every class, drawn without replacement from `rows`, class by class.

    Raises BadInput if a class has fewer.
    """
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
    picked = torch.cat(chosen)
    return Examples(dataset.prepare(dataset.train_inputs[picked]), dataset.train_labels[picked])
