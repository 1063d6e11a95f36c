"""Optimizers and the learning rate over time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from benchmark.spec.recipe import Recipe, Unit


def make_optimizer(recipe: Recipe, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """A fresh optimizer: no state survives from an earlier round."""
    if recipe.optimizer == "adam":
        return torch.optim.Adam(
            parameters,
            lr=recipe.learning_rate,
            betas=recipe.adam_betas,
            eps=recipe.adam_epsilon,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
    return torch.optim.SGD(
        parameters,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def learning_rates(recipe: Recipe, per_epoch: int, last: int) -> list[float]:
    """The learning rate of updates 0 to `last` - 1, `per_epoch` of which make an epoch.

    Updates beyond the recipe's own steps are fine-tuning and keep the rate of its last one (as in Renda et al. 2020,
    arXiv 2003.02389).
    """
    own = [_rate(recipe, per_epoch, step) for step in range(min(last, recipe.steps))]
    return own + [_rate(recipe, per_epoch, recipe.steps - 1)] * (last - len(own))


def _rate(recipe: Recipe, per_epoch: int, step: int) -> float:
    rate, drops, warm, cosine = recipe.learning_rate, recipe.drops, recipe.warm_up, recipe.cosine
    ramp = _steps(warm.length, warm.unit, per_epoch) if warm else 0
    if drops:
        dropped = sum(step >= _steps(at, drops.unit, per_epoch) for at in drops.at)
        rate *= drops.factor**dropped
    if cosine:
        start = ramp if cosine.spans == "after-warm-up" else 0
        at = step if cosine.per == "step" else step // per_epoch * per_epoch
        part = max(at - start, 0) / max(recipe.steps - start, 1)
        rate = cosine.floor + (rate - cosine.floor) * (1 + math.cos(math.pi * part)) / 2
    if warm and step < ramp:
        rate *= (step if warm.first == "zero" else step + 1) / ramp
    return rate


def _steps(count: int, unit: Unit, per_epoch: int) -> int:
    return count if unit == "step" else count * per_epoch
