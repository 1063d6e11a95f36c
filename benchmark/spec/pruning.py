"""What is prunable and how masks are cut: the conventions on which the repositories of this field differ."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from benchmark.errors import did_you_mean
from benchmark.spec.frozen import ADDED, Frozen


class Scoring(Frozen):
    """Which examples a pruner at initialization sees, and how the network is run on them.

    The conventions behind the published tables: Missing the Mark scores in train mode on balanced, plain examples;
    Synaptic-Flow in eval mode on as many drawn at random, augmented; SNIP's own code on one plain training batch, and
    with weights that are drawn anew before training. GraSP's own code runs in train mode.
    """

    examples_per_class: int = Field(gt=0, description="drawn at random: in the mean, times the number of classes")
    draw: Literal["balanced-from-training-set", "at-random-from-training-set"]
    augmentation: Literal["none", "as-in-training"]
    batch: Literal["all-at-once"]
    batch_norm: Literal["train", "eval", "network-has-none"]
    biases: Literal["not-scored", "scored-with-their-layer"]
    weights: Annotated[Literal["those-trained", "another-draw"], ADDED] = "those-trained"


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
