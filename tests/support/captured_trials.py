"""Trainings that take every turn of a captured one: small networks of all families, and hooks, for the CPU and CUDA."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import acting_hooks
import torch
from image_data import CROP
from image_networks import COMMON, NORM, STEM, ThinConv, ThinResNet, ThinVgg, spec

from benchmark.api import Run
from benchmark.datasets.augment import Preparation
from benchmark.datasets.dataset import Dataset, Split
from benchmark.networks import initial_state, make
from benchmark.protocols import Protocol
from benchmark.protocols.network import MlpSpec, NetworkSpec
from benchmark.protocols.recipe import AugmentationSpec, EvaluationSpec, Recipe
from benchmark.training.hooks import Hooks
from benchmark.training.loop import Learners, Placement, train
from benchmark.training.replicas import Outcome, Replica, TrainingSetup
from benchmark.utils.seeding import stream

SMALL = {**COMMON, "input": (3, 8, 8), "classes": 4}
RESIDUAL = {**SMALL, "name": "resnet-20", "width": 1, "batch_norm": NORM}
POOLED = {"kernel": 3, "stride": 1, "max_pool": "3x3-stride-2"}
EVERYWHERE = {"rate": 0.5, "after": "pools-and-hidden-linear-layers"}
ROWS, BATCH = 11, 4  # two whole batches and one of three


def mlp(name: Any, *widths: int) -> MlpSpec:
    return MlpSpec(name=name, initialiser="glorot-normal", bias="zeros", widths=widths)


NETWORKS: dict[str, NetworkSpec] = {
    "mlp": mlp("mlp", 20, 12, 8, 4),
    "residual-mlp": mlp("residual-mlp", 20, 8, 8, 4),
    "lenet-5": spec("lenet-5-caffe", **{**SMALL, "input": (1, 16, 16)}),
    "conv-2": ThinConv.model_validate({**SMALL, "name": "conv-2", "dropout": EVERYWHERE}),
    "vgg-11": ThinVgg.model_validate(
        {**SMALL, "name": "vgg-11", "input": (3, 32, 32), "batch_norm": NORM, "convolution_bias": True,
         "last_pool": "max-2x2", "hidden": (6,), "dropout": {"rate": 0.5, "after": "hidden-linear-layers"}}
    ),
    "resnet": ThinResNet.model_validate({**RESIDUAL, "shortcut": "zero-padding", "stem": STEM}),
    "resnet-b": ThinResNet.model_validate({**RESIDUAL, "shortcut": "convolution", "stem": POOLED}),
}  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """Two replicas of a network to be trained in one strategy; every choice that changes an update."""

    name: str
    strategy: Any
    recipe: Recipe
    evaluation: EvaluationSpec
    hooks: Hooks | None = None
    steps: int = 11
    learners: Learners | None = None
    fused: bool = False

    def replicas(self) -> list[Replica]:
        """Of other weights, masks and orders; the second is dense."""
        made = []
        for seed in range(2):
            fields = NETWORKS[self.name]
            state, rng = initial_state(make(fields), fields, stream(seed, "init")), torch.Generator().manual_seed(seed)
            weights = [n for n, t in state.items() if n.endswith("weight") and t.dim() > 1]
            masks = {n: (torch.rand(state[n].shape, generator=rng) < 0.5) | (seed == 1) for n in weights}
            rows = torch.randperm(ROWS + 5, generator=rng)
            made.append(Replica(seed, state, masks, Split(rows[:ROWS], rows[ROWS:]), self.steps, 0, (6,)))
        return made

    def longer(self, steps: int) -> Trial:
        """The same with so many updates."""
        return replace(self, steps=steps, recipe=self.recipe.model_copy(update={"steps": steps}))

    def setup(self) -> TrainingSetup:
        """The data and the recipe, on the CPU."""
        return TrainingSetup(lambda _: make(NETWORKS[self.name]), self.recipe, self.evaluation, data(self.name))

    def trained(self, device: Literal["cpu", "cuda"] | None = "cpu") -> list[Outcome]:
        """Side by side on a device, on the CPU by whatever `loop.Eager` is at the moment; None: one after another."""
        placement = None if device is None else Placement(device, self.strategy, self.fused)
        return train(self.replicas(), self.setup(), None, placement, hooks=self.hooks, learners=self.learners)


def data(name: str) -> Dataset:
    """Random examples as the network reads them; images are bytes, cropped and flipped."""
    shape, rng = NETWORKS[name].input_shape, torch.Generator().manual_seed(7)
    inputs = torch.randint(0, 256, (ROWS + 15, *shape), generator=rng, dtype=torch.uint8)
    labels, prepare = torch.randint(0, 4, (ROWS + 15,), generator=rng), Preparation()
    if len(shape) == 3:
        prepare = Preparation((0.5,) * shape[0], (0.3,) * shape[0], AugmentationSpec.model_validate(CROP))
    stored = inputs if len(shape) == 3 else inputs.float() / 255
    cut = ROWS + 5
    return Dataset("random", stored[:cut], labels[:cut], stored[cut:], labels[cut:], 4, "random", prepare)


def trial(tiny: Protocol, name: str, strategy: Any, hooks: Hooks | None = None, **recipe: Any) -> Trial:
    """With all that moves: momentum, weight decay, a rate that changes at every update, masks, crops, dropped units."""
    fields = {
        "optimizer": "sgd", "learning_rate": 0.02, "momentum": 0.9, "weight_decay": 0.01, "batch_size": BATCH,
        "steps": 11, "cosine": {"floor": 0.0, "per": "step", "spans": "all-steps"},
    }  # fmt: skip
    when = EvaluationSpec.model_validate({**tiny.evaluation.model_dump(), "every": 5, "test_every": 10})
    return Trial(name, strategy, Recipe.model_validate({**tiny.recipe.model_dump(), **fields, **recipe}), when, hooks)


class Moving(acting_hooks.Moving):
    """Moves weights of the first layer."""

    told, layer = (BATCH, 3), "head.fc1.weight"


class Freezing(acting_hooks.Acting):
    """Holds the biases of a layer still."""

    told = (BATCH, 3)

    def change(self, step: int, run: Run) -> None:  # noqa: ARG002
        run.frozen["head.fc1.bias"] = torch.ones_like(run.network.get_parameter("head.fc1.bias"), dtype=torch.bool)
