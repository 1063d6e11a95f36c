"""Optimizers and the learning rate over time."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from benchmark.protocols.recipe import Recipe, Unit


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Everything that an optimizer updates, in its order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def under(prefix: str, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of a file whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in found.items() if name.startswith(prefix)}


def named(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state as a part of a file: its names begin with `prefix`, which `under` takes off again."""
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


RATE_TYPE = {"cpu": torch.float64, "cuda": torch.float32}


def make_optimizer(recipe: Recipe, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """A fresh optimizer: no state survives from an earlier round.

    Its learning rate is a tensor, which an update reads on the device (CUDA's fused kernels take float32). Momentum
    starts at zero instead of at the first gradient, which is the same velocity, so that all updates are alike and one
    of them can be captured.
    """
    _leave_the_compiler_out()
    device = parameters[0].device.type
    rate = torch.tensor(recipe.learning_rate, dtype=RATE_TYPE[device], device=device)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(
            parameters,
            lr=rate,
            betas=recipe.adam_betas,
            eps=recipe.adam_epsilon,
            weight_decay=recipe.weight_decay,
            fused=True,
            capturable=device == "cuda",
        )
    of_weights = recipe.decay == "of-weights"
    optimizer = (ShrinkingSGD if of_weights else torch.optim.SGD)(
        parameters,
        lr=rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=0.0 if of_weights else recipe.weight_decay,
        fused=True,
    )
    if isinstance(optimizer, ShrinkingSGD):
        optimizer.shrinks_by = recipe.weight_decay
    begin_velocity(optimizer, parameters)
    return optimizer


def begin_velocity(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> None:
    """A velocity of zero for each of these parameters, where the optimizer has momentum."""
    if optimizer.defaults.get("momentum"):
        for parameter in parameters:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


class ShrinkingSGD(torch.optim.SGD):
    """SGD that also takes a fixed share off every parameter: w <- (1 - d) w + v, v <- momentum v - rate gradient.

    The share is that of the released code of SET, the same at every learning rate and outside of the velocity (AdamW,
    arXiv 1711.05101, multiplies it by the rate).
    """

    shrinks_by = 0.0

    def step(self, closure: Any = None) -> Any:
        """One update, after all parameters have shrunk. Takes no closure."""
        torch._foreach_mul_(parameters_of(self), 1.0 - self.shrinks_by)
        return inspect.unwrap(torch.optim.SGD.step)(self, closure)


def updating(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """One update of an optimizer's parameters from their gradients: its `step`, as its class defines it.

    What torch wraps around a step serves profilers, hooks and its compiler, none of which is used here. It costs tens
    of microseconds an update, and the first one imports the compiler.
    """
    step = inspect.unwrap(type(optimizer).step)

    def update() -> None:
        with torch.no_grad():
            step(optimizer)

    return update


def _leave_the_compiler_out() -> None:
    """Let torch's optimizers take in their parameters without importing torch's compiler to mark that as not compiled.

    That import takes as long as torch's own, in every process that trains, and nothing here is ever compiled.
    """
    plain = getattr(torch.optim.Optimizer.add_param_group, "__wrapped__", None)
    if plain is not None:
        plain.__dict__.setdefault("__dynamo_disable", plain)


def rate_table(recipe: Recipe, per_epoch: int, last: int, device: str) -> Tensor:
    """`learning_rates` (last,) on a device, in the type its optimizers read."""
    return torch.tensor(learning_rates(recipe, per_epoch, last), dtype=RATE_TYPE[device], device=device)


@lru_cache(maxsize=16)
def learning_rates(recipe: Recipe, per_epoch: int, last: int) -> tuple[float, ...]:
    """The learning rate of updates 0 to `last` - 1, `per_epoch` of which make an epoch.

    Updates beyond the recipe's own steps are fine-tuning and keep the rate of its last one (as in Renda et al. 2020,
    arXiv 2003.02389).
    """
    own = tuple(_rate(recipe, per_epoch, step) for step in range(min(last, recipe.steps)))
    return own + (_rate(recipe, per_epoch, recipe.steps - 1),) * (last - len(own))


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
