"""The sections of a protocol: typed, frozen, closed. Every numeric convention that differs between the
repositories of this field is a field, so no run can depend on a silent default. No torch. Networks, data and recipes
have modules of their own: network_fields, data_fields, recipe_fields.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from benchmark.errors import did_you_mean
from benchmark.frozen import Frozen


class Paper(Frozen):
    """Where the setting comes from."""

    key: str
    title: str
    authors: str
    year: int
    arxiv: str


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


class Scoring(Frozen):
    """Which examples a pruner at initialization sees, and how the network is run on them."""

    examples_per_class: int = Field(gt=0)
    draw: Literal["balanced-from-training-set"]
    augmentation: Literal["none"]
    batch: Literal["all-at-once"]
    batch_norm: Literal["train", "eval", "network-has-none"]
    biases: Literal["not-scored", "scored-with-their-layer"]


class PruningSpec(Frozen):
    """What is prunable and how masks are cut. A layer is the module that owns the tensors."""

    prunable: dict[str, tuple[int, ...]] = Field(min_length=1, description="tensor name -> shape, in tie order")
    layer_rates: dict[str, float] = Field(description="rate of a layer relative to the others; absent = 1")
    ties: Literal["lower-index-stays"]
    pruned_weights: Literal["never-return"]
    pruned_values: Literal["zero-after-every-update"]
    rewound: Literal["weights-and-biases", "weights-biases-and-batch-norm"] = Field(
        description="every parameter and, where there is batch norm, its running statistics"
    )
    optimizer_state: Literal["fresh"]
    scoring: Scoring

    @cached_property
    def layer_of(self) -> dict[str, str]:
        """Layer name of each prunable tensor, in tie order."""
        return {name: name.rpartition(".")[0] for name in self.prunable}

    @cached_property
    def tensor_sizes(self) -> dict[str, int]:
        """Number of weights in each prunable tensor."""
        sizes = {}
        for name, shape in self.prunable.items():
            sizes[name] = 1
            for extent in shape:
                sizes[name] *= extent
        return sizes

    @cached_property
    def layer_sizes(self) -> dict[str, int]:
        """Number of prunable weights in each layer."""
        sizes: dict[str, int] = {}
        for name, size in self.tensor_sizes.items():
            sizes[self.layer_of[name]] = sizes.get(self.layer_of[name], 0) + size
        return sizes

    @model_validator(mode="after")
    def _rates_name_layers(self) -> Self:
        for layer, rate in self.layer_rates.items():
            if layer not in self.layer_sizes:
                raise ValueError(f"layer_rates names '{layer}'. {did_you_mean(layer, list(self.layer_sizes))}")
            if not 0 <= rate <= 1:
                raise ValueError(f"layer_rates.{layer} is {rate}, outside [0, 1]")
        return self


class Schedule(Frozen):
    """How scores become a mask and what the final network starts from.

    `rounds`: "levels" prunes level after level (one network per level is trained and recorded); a number
    reaches one density in that many exponential rounds. `scores` says whether initial or trained weights are
    scored. `restart`: a step to rewind to (0 = initialization), or "trained" to fine-tune the trained weights.
    """

    rounds: Literal["levels"] | int
    scores: Literal["initial", "trained"]
    restart: Literal["trained"] | int
    retrain_steps: int | None = Field(default=None, gt=0, description="fine-tuning updates; absent = the recipe's")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if isinstance(self.rounds, int) and self.rounds < 1:
            raise ValueError(f"rounds is {self.rounds}, below 1")
        if isinstance(self.restart, int) and self.restart < 0:
            raise ValueError(f"restart is {self.restart}, below 0")
        if self.restart == "trained" and self.scores != "trained":
            raise ValueError("restart: trained needs scores: trained")
        if self.scores == "trained" and isinstance(self.rounds, int) and self.rounds != 1:
            raise ValueError("scores: trained needs rounds: levels (iterative) or rounds: 1 (one-shot)")
        if self.rounds == "levels" and self.scores != "trained":
            raise ValueError("rounds: levels needs scores: trained")
        if self.rounds == "levels" and self.restart == "trained":
            raise ValueError("rounds: levels rewinds to a step; restart: trained needs rounds: 1")
        if self.retrain_steps is not None and self.restart != "trained":
            raise ValueError("retrain_steps needs restart: trained; a rewound network trains to the recipe's last step")
        return self


class MethodSpec(Frozen):
    """A pruner with its schedule."""

    pruner: str
    parameters: dict[str, bool | int | float | str] = Field(default_factory=dict)
    allocation: Literal["layerwise", "global"]
    schedule: Schedule
    levels: Literal["all"] | Annotated[tuple[int, ...], Field(min_length=1)]
    later: tuple[int, ...] = Field(default=(), description="levels measured once all else is done")


class ControlSpec(Frozen):
    """A method that takes another's mask: `reinitialise` redraws the weights, `shuffle` permutes within layers."""

    of: str
    control: Literal["reinitialise", "shuffle"]
    draws: int = Field(gt=0, description="independent repetitions per ticket; later ones are run last")
    levels: tuple[int, ...] = Field(min_length=1)


class Margins(Frozen):
    """How near counts as the same. Fixed before anything runs."""

    accuracy_points: float = Field(gt=0)
    seed_sd_multiple: float = Field(gt=0, description="margin is the larger of the two")
    ratio: float = Field(gt=0, lt=1)
    density_rounds: int = Field(ge=0)


class StatisticsSpec(Frozen):
    """Error level and margins of every verdict of the protocol."""

    alpha: float = Field(gt=0, lt=0.5)
    margins: Margins
