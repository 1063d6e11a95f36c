"""Iterative magnitude pruning of a network that learns the planted one's outputs: the paper's baseline.

As released (github voilalab/MLP-IHT, baselines.py): Adam on the whole data set at once, a tenth of what remains of both
layers pruned a round by magnitude, weights rewound to initialization, no bias. Here the last mask is trained as every
other one is, while the released code reports the network right after its last cut; that flatters the baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.analyses.recovery.classes import Classes
from benchmark.analyses.recovery.fits import Problem
from benchmark.analyses.recovery.planted import Planted
from benchmark.datasets.dataset import Dataset, split
from benchmark.protocols.recipe import EvaluationSpec, Recipe
from benchmark.pruning.topk import keep_top
from benchmark.tasks import load_task
from benchmark.training.loop import train
from benchmark.training.replicas import Outcome, Replica, TrainingSetup

RATE = 0.1  # share of the remaining weights that a round removes


@dataclass(frozen=True)
class Budget:
    """What a round may spend: full-batch Adam updates, and their learning rate."""

    updates: int
    learning_rate: float

    def recipe(self, examples: int) -> Recipe:
        """As the training loop reads it."""
        return Recipe(
            optimizer="adam", learning_rate=self.learning_rate, weight_decay=0.0, batch_size=examples,
            order="as-stored", last_partial_batch="keep", steps=self.updates, precision="fp32",
        )  # fmt: skip

    @property
    def evaluation(self) -> EvaluationSpec:
        """After the last update only."""
        return EvaluationSpec(
            first=self.updates, every=self.updates, test_every=self.updates, test_at_validation_minima=False,
            reported="last", early_stop="none",
        )  # fmt: skip


def counts(total: int, target: int) -> Iterator[int]:
    """How many weights remain after each round, the last of them `target`: one less than before at least."""
    left = total
    while left > target:
        left = max(target, min(left - 1, round((1 - RATE) * left)))
        yield left


def pruned(
    problem: Planted | Problem | Classes,
    make_module: Callable[[int | None], nn.Module],
    initial: Mapping[str, Tensor],
    target: int,
    budget: Budget,
    seed: int,
) -> Iterator[Outcome]:
    """Train, cut, rewind: the network of every round, the dense one first, the last with `target` weights.

    `initial`: the weights of `make_module`'s network by name; biases are held at zero by masks that keep none of them.
    """
    names = [name for name in initial if name.endswith("weight")]
    masks = {name: torch.full_like(value, name in names, dtype=torch.bool) for name, value in initial.items()}
    setup = _setup(problem, make_module, budget)
    rows = split(setup.dataset, 0, seed)

    def trained() -> Outcome:
        return train([Replica(seed, initial, dict(masks), rows, budget.updates)], setup)[0]

    outcome = trained()
    yield outcome
    for count in counts(sum(initial[name].numel() for name in names), target):
        sizes = [outcome.weights[name].abs().where(masks[name], -1.0) for name in names]
        masks |= dict(zip(names, keep_top(sizes, count), strict=True))
        outcome = trained()
        yield outcome


def _setup(
    problem: Planted | Problem | Classes, make_module: Callable[[int | None], nn.Module], budget: Budget
) -> TrainingSetup:
    inputs, labels = problem.inputs.float(), problem.labels
    labels = labels.float() if labels.is_floating_point() else labels
    data = Dataset("planted", inputs, labels, inputs[:1], labels[:1], 1, "")
    return TrainingSetup(make_module, budget.recipe(len(labels)), budget.evaluation, data, load_task(problem.task))


def fused(weights: Mapping[str, Tensor]) -> Tensor:
    """(m, d), float64: hidden weights of two layers times the output weight of their unit.

    The support of a unit with output weight -1 counts as found, though its outputs have the wrong sign.
    """
    return weights["fc1.weight"].double() * weights["fc2.weight"].double().T
