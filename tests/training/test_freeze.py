"""Layers that stay as they are: parameters to the bit, and the statistics of batch norm as the field says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from acting_hooks import Stop, stop_at
from replica_groups import NETWORKS, augmented, recipe_of, replicas_of

from baselines.freeze import Freeze
from benchmark.networks import make
from benchmark.protocols import Protocol
from benchmark.protocols.recipe import EvaluationSpec
from benchmark.training.checkpoint import CheckpointFile
from benchmark.training.loop import train
from benchmark.training.replicas import Outcome, Replica, TrainingSetup
from benchmark.utils.errors import BadInput

NAME = "resnet-20"


def replica() -> Replica:
    return replace(replicas_of(NAME, 1)[0], last_step=4)


def trained(tiny: Protocol, hook: Freeze, files: Any = (), progress: Any = None) -> Outcome:
    """Four updates of a network with batch norm, with momentum and weight decay, looked at after each."""
    when = EvaluationSpec.model_validate({**tiny.evaluation.model_dump(), "every": 1, "test_every": 4})
    setup = TrainingSetup(
        lambda _: make(NETWORKS[NAME]), recipe_of(tiny, learning_rate=0.05, steps=4), when, augmented()
    )
    return train([replica()], setup, progress, None, files, lambda _: [hook])[0]


@pytest.mark.parametrize("batch_norm", ["statistics", "batch"])
def test_all_but_the_head_stays(tiny_protocol: Protocol, batch_norm: Any) -> None:
    hook, first = Freeze("fc", batch_norm), replica()
    outcome = trained(tiny_protocol, hook)
    masked = {n: t * first.masks[n] if n in first.masks else t for n, t in first.start.items()}
    moved = {name for name in masked if not torch.equal(masked[name], outcome.weights[name])}
    statistics = {name for name in moved if "running_" in name or name.endswith("tracked")}
    assert moved - statistics == {"fc.weight", "fc.bias"}
    assert bool(statistics) == (batch_norm == "batch")
    own = 8 * 4 + 4
    every = sum(parameter.numel() for parameter in make(NETWORKS[NAME]).parameters())
    assert hook.facts() == {"parameters_trained": own, "parameters_frozen": every - own}


def test_killed_and_resumed(tiny_protocol: Protocol, tmp_path: Path) -> None:
    whole, files = (
        trained(tiny_protocol, Freeze("fc")),
        [CheckpointFile(tmp_path / "c", tmp_path / "w", "replica", 0.0)],
    )
    with pytest.raises(Stop):
        trained(tiny_protocol, Freeze("fc"), files, stop_at(2))
    resumed = trained(tiny_protocol, Freeze("fc"), files)
    assert all(torch.equal(whole.weights[name], resumed.weights[name]) for name in whole.weights)
    assert whole.hook_facts == resumed.hook_facts


def test_a_layer_that_is_not_there(tiny_protocol: Protocol) -> None:
    with pytest.raises(BadInput, match=r"the network has no layer 'fc9' to train\. Its layers: .*fc"):
        trained(tiny_protocol, Freeze("fc9"))
