"""How every network of a protocol is trained: optimizer, learning rate over time, batches, precision. No torch."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from benchmark.utils.strict_model import ADDED, Frozen

Unit = Literal["step", "epoch"]


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
    """How every network of the protocol is trained. Weight decay is added to the gradient of every parameter."""

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
    batch_size: int = Field(gt=0)
    order: Literal["shuffled-each-epoch", "as-stored"]
    last_partial_batch: Literal["keep", "drop"]
    steps: int = Field(gt=0, description="optimizer updates")
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        description="of training and evaluation: tf32 in matrix products on CUDA, bf16 by autocast; scoring is fp32"
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise ValueError("nesterov needs optimizer: sgd and momentum > 0")
        if self.cosine and self.drops:
            raise ValueError("cosine and drops exclude each other")
        if self.cosine and self.cosine.floor >= self.learning_rate:
            raise ValueError(f"cosine.floor {self.cosine.floor} is not below learning_rate {self.learning_rate}")
        if self.cosine and self.cosine.spans == "after-warm-up" and self.warm_up is None:
            raise ValueError("cosine.spans: after-warm-up needs warm_up")
        return self


NO_TRAINING: Final = Recipe.model_construct(
    optimizer="sgd", learning_rate=0.0, weight_decay=0.0, batch_size=0, order="as-stored", last_partial_batch="keep",
    steps=0, precision="fp32",
)  # fmt: skip
"""Stands in a protocol that trains nothing: no updates. No document can spell it, because it breaks the bounds."""
