"""Small networks, fully connected or LeNet-5, their data and recipes, for portable arithmetic and for torch's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor

from benchmark.datasets.dataset import Dataset, Split
from benchmark.networks import initial_state, make
from benchmark.protocols.network import LeNet5Spec, MlpSpec
from benchmark.protocols.recipe import EvaluationSpec, Recipe
from benchmark.training.replicas import Replica, TrainingSetup
from benchmark.utils.seeding import stream

ROWS = 110  # training examples, 20 more are held out
RECIPES: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 0.0},
    "momentum": {"optimizer": "sgd", "learning_rate": 0.02, "momentum": 0.9, "weight_decay": 0.01},
    "nesterov": {"optimizer": "sgd", "learning_rate": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "adam": {"optimizer": "adam", "learning_rate": 0.01, "weight_decay": 0.001},
}


def network(*widths: int, shortcuts: bool = False) -> MlpSpec:
    """A network whose biases are not zero."""
    name = "residual-mlp" if shortcuts else "mlp"
    return MlpSpec.model_validate({
        "name": name, "initialiser": "pytorch-linear", "bias": "pytorch-linear", "widths": widths,
    })  # fmt: skip


def lenet5(name: str, *size: int, relu: bool = True) -> LeNet5Spec:
    """A LeNet-5 for small images of (channels, height, width), whose biases are not zero."""
    return LeNet5Spec.model_validate({
        "name": name, "input": size, "classes": 10, "initialiser": "pytorch-uniform",
        "linear_initialiser": "pytorch-uniform", "bias": "pytorch-uniform", "relu_after_convolutions": relu,
    })  # fmt: skip


Spec = MlpSpec | LeNet5Spec


def data(spec: Spec) -> Dataset:
    """Made-up examples; the label is the largest of the first features, so that there is something to learn."""
    rng = torch.Generator().manual_seed(5)
    inputs = torch.rand((ROWS + 20 + 70, prod(spec.input_shape)), generator=rng) * 2 - 1
    labels = inputs[:, : spec.outputs].argmax(1)
    held = ROWS + 20
    return Dataset("made", inputs[:held], labels[:held], inputs[held:], labels[held:], spec.outputs, "")


def recipe(batch: int = 16, steps: int = 30, **fields: Any) -> Recipe:
    """Portable Adam with drops of the learning rate, the last batch of an epoch smaller than the others."""
    return Recipe.model_validate({
        **RECIPES["adam"], "batch_size": batch, "order": "shuffled-each-epoch", "last_partial_batch": "keep",
        "steps": steps, "precision": "fp32", "arithmetic": "portable",
        "drops": {"at": (17,), "unit": "step", "factor": 0.5}, **fields,
    })  # fmt: skip


def setup(spec: Spec, how: Recipe | None = None) -> TrainingSetup:
    """Looks every five updates."""
    looks = EvaluationSpec.model_validate({
        "first": 0, "every": 5, "test_every": 10, "test_at_validation_minima": True, "reported": "last",
        "early_stop": "minimum-validation-loss",
    })  # fmt: skip
    return TrainingSetup(lambda _: make(spec), how or recipe(), looks, data(spec))


def replica(spec: Spec, density: float = 1.0, seed: int = 0, last: int = 30, **fields: Any) -> Replica:
    """A network under a random mask of weights and biases."""
    rng = torch.Generator().manual_seed(seed)
    state = initial_state(make(spec), spec, stream(seed, "init"), "portable")
    masks = {name: torch.rand(tensor.shape, generator=rng) < density for name, tensor in state.items()}
    order = torch.randperm(ROWS + 20, generator=rng)
    return Replica(seed, state, masks, Split(order[20:], order[:20]), last, **fields)


def digest(weights: Mapping[str, Tensor]) -> str:
    """Of every bit of a network."""
    whole = b"".join(weights[name].numpy().tobytes() for name in sorted(weights))
    return hashlib.sha256(whole).hexdigest()[:16]
