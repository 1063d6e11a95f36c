"""Which training rows make up each batch: a function of (seed, epoch), so any step can be resumed at."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmark.errors import BadInput
from benchmark.protocol import Recipe
from benchmark.streams import stream


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
