"""Small networks, recipes and replicas that are trained side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from image_data import CROP, pictures
from image_networks import COMMON, OWN, ThinConv, ThinResNet
from torch import Tensor

from benchmark.api import Masks
from benchmark.datasets.augment import Preparation
from benchmark.datasets.dataset import Dataset, Split
from benchmark.harness.harness import Harness
from benchmark.networks import initial_state, make
from benchmark.planning.batching import Batch
from benchmark.planning.plan import Job
from benchmark.protocols import Protocol
from benchmark.protocols.network import NetworkSpec
from benchmark.protocols.recipe import AugmentationSpec, EvaluationSpec, Recipe
from benchmark.training.checkpoint import CheckpointFile
from benchmark.training.loop import Placement, train
from benchmark.training.replicas import Outcome, Replica, TrainingSetup
from benchmark.utils.seeding import stream


def run_batch(harness: Harness, batch: Batch) -> list[Job]:
    """Run a batch as a worker does; the jobs to come back to."""
    jobs, backfill = [item.job for item in batch.jobs], [item.job for item in batch.backfill]
    return harness.run_jobs(jobs, batch.width, backfill, batch.backfill_width, batch.most)


SMALL: dict[str, Any] = {**COMMON, "input": (3, 8, 8), "classes": 4}


EVERYWHERE = {"rate": 0.5, "after": "pools-and-hidden-linear-layers"}
NETWORKS: dict[str, NetworkSpec] = {
    "conv-2": ThinConv.model_validate({**SMALL, "name": "conv-2", "dropout": EVERYWHERE}),
    "resnet-20": ThinResNet.model_validate({**SMALL, **OWN["resnet"], "name": "resnet-20", "shortcut": "zero-padding"}),
}


def augmented() -> Dataset:
    """The pictures, standardised, with crops and flips."""
    prepare = Preparation((0.5, 0.4, 0.3), (0.2, 0.3, 0.1), AugmentationSpec.model_validate(CROP))
    return replace(pictures(), prepare=prepare)


def recipe_of(tiny: Protocol, **changes: Any) -> Recipe:
    """SGD with all that moves: momentum, weight decay, a learning rate that changes at every step."""
    fields = {
        "optimizer": "sgd", "learning_rate": 0.002, "momentum": 0.9, "weight_decay": 0.01, "batch_size": 16, "steps": 8,
        "cosine": {"floor": 0.0, "per": "step", "spans": "all-steps"},
    }  # fmt: skip
    return Recipe.model_validate({**tiny.recipe.model_dump(), **fields, **changes})


def replicas_of(name: str, count: int, **changes: Any) -> list[Replica]:
    """Different seeds, weights, masks and rows; the second is dense."""
    made = []
    for seed in range(count):
        state = initial_state(make(NETWORKS[name]), NETWORKS[name], stream(seed, "init"))
        rng = torch.Generator().manual_seed(seed)
        order = torch.randperm(90, generator=rng)
        names = [n for n, t in state.items() if n.endswith("weight") and t.dim() > 1]
        masks: Masks = {n: (torch.rand(state[n].shape, generator=rng) < 0.3) | (seed == 1) for n in names}
        made.append(Replica(seed, state, masks, Split(order[20:], order[:20]), 8, **changes))
    return made


def went(
    name: str, replicas: list[Replica], recipe: Recipe, tiny: Protocol, placement: Placement | None
) -> list[Outcome]:
    """Train on the pictures, looking every second update."""
    when = EvaluationSpec.model_validate({**tiny.evaluation.model_dump(), "every": 2, "test_every": 4})
    return train(
        replicas, TrainingSetup(lambda _: make(NETWORKS[name]), recipe, when, augmented()), placement=placement
    )


def close(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two states agree to rounding."""
    return all(torch.allclose(one[n], other[n], rtol=1e-4, atol=2e-5) for n in one) and one.keys() == other.keys()


class Killed(Exception):
    """The machine failed."""


def resumable(
    name: str,
    replicas: list[Replica],
    recipe: Recipe,
    tiny: Protocol,
    strategy: Any,
    folder: Path,
    kill_at: int | None,
    device: Any = "cpu",
) -> list[Outcome]:
    """Train with a checkpoint at every look; the machine may fail at one."""

    def report(_number: int, done: int, *_: object) -> None:
        if done == kill_at:
            raise Killed

    when = EvaluationSpec.model_validate({**tiny.evaluation.model_dump(), "every": 2, "test_every": 4})
    files = [CheckpointFile(folder / f"{r.seed}", folder / "work", f"replica {r.seed}", 0.0) for r in replicas]
    placement = Placement(device, strategy)
    return train(
        replicas, TrainingSetup(lambda _: make(NETWORKS[name]), recipe, when, augmented()), report, placement, files
    )
