"""What makes up each batch: a function of (seed, epoch), so any step can be resumed at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.datasets import Dataset
from benchmark.errors import BadInput
from benchmark.protocol import Recipe
from benchmark.streams import stream
from benchmark.training.augmenting import augmentation_table


def batches_per_epoch(recipe: Recipe, examples: int) -> int:
    """Optimizer updates per pass over `examples` training examples. Raises BadInput if there is none."""
    keep = recipe.last_partial_batch == "keep"
    if not keep and recipe.batch_size > examples:
        raise BadInput(
            f"recipe.batch_size {recipe.batch_size}",
            f"there are {examples} training examples, and last_partial_batch is drop",
            "Take smaller batches or keep the last one",
        )
    return -(-examples // recipe.batch_size) if keep else examples // recipe.batch_size


def batches(recipe: Recipe, rows: Tensor, seed: int, first: int, last: int) -> Iterator[Tensor]:
    """Row numbers of batches `first`..`last` - 1, counted from the start of training."""
    per_epoch = batches_per_epoch(recipe, len(rows))
    epoch, order = -1, rows
    for step in range(first, last):
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            if recipe.order == "shuffled-each-epoch":
                order = rows[torch.randperm(len(rows), generator=stream(seed, "order", epoch))]
        start = step % per_epoch * recipe.batch_size
        yield order[start : start + recipe.batch_size]


@dataclass(frozen=True)
class Feed:
    """Batches of one replica, ready for the network. What is random is drawn once an epoch, into tables.

    `stored`: (n, ...) training examples as the data set, or a compacted form of it, holds them; `rows`: (m,), those to
    train on.
    """

    recipe: Recipe
    dataset: Dataset
    stored: Tensor
    rows: Tensor
    seed: int

    def batches(self, first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(inputs, labels) of updates `first`..`last` - 1, counted from the start of training."""
        prepare, labels = self.dataset.prepare, self.dataset.train_labels
        chosen = batches(self.recipe, self.rows, self.seed, first, last)
        if prepare.augmentation is None:
            yield from ((prepare(self.stored[rows]), labels[rows]) for rows in chosen)
            return
        per_epoch, epoch = batches_per_epoch(self.recipe, len(self.rows)), -1
        for step, rows in enumerate(chosen, start=first):
            if step // per_epoch != epoch:
                epoch = step // per_epoch
                offsets, flips = augmentation_table(prepare.augmentation, self.seed, epoch, len(self.rows))
            start = step % per_epoch * self.recipe.batch_size
            here = slice(start, start + len(rows))
            yield prepare.augmented(self.stored[rows], offsets[here], flips[here]), labels[rows]
