"""Trainings with somebody else's hook or learner: updates in a confined process, everything else here.

What the plugin process sends back is measured by the harness, see `plugins.sandbox.training_session`. Such a training
runs on the CPU, whatever the device of the others: the plugin process reaches no other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from benchmark.plugins.registry import PluginSource
from benchmark.plugins.sandbox.confinement import Limits
from benchmark.protocols import Protocol
from benchmark.training.checkpoint import CheckpointFile
from benchmark.training.evaluate import History
from benchmark.training.loop import Placement, Progress, train
from benchmark.training.replicas import Outcome, Replica, TrainingSetup
from benchmark.utils.errors import BadInput, BadPruner


@dataclass(frozen=True)
class Acting:
    """Who acts on a training: the `kind` of plugin, where it is, and its hyper-parameters.

    `target`: weights that it has to leave of each group of tensors; `parent_facts()`: see `Hook`.
    """

    kind: Literal["hook", "learner"]
    source: PluginSource
    parameters: Mapping[str, Any]
    target: Mapping[tuple[str, ...], int]
    parent_facts: Callable[[], Mapping[str, float]]


def train_confined(
    protocol: Protocol,
    acting: Acting,
    replica: Replica,
    setup: TrainingSetup,
    limits: Limits,
    placement: Placement | None,
    progress: Progress,
    checkpoints: Sequence[CheckpointFile],
) -> Outcome:
    """One training, its updates made in a confined process. An outcome with a failure for whatever the plugin does.

    Raises BadInput where `placement` asks for another device than the CPU.
    """
    if placement is not None and placement.device != "cpu":
        cause = f"is confined, and a confined process trains on the CPU only, not on {placement.device}"
        raise BadInput(f"{acting.kind} '{acting.source.name}'", cause, "Run its methods with --device cpu")
    from benchmark.plugins.sandbox.training_session import ConfinedTraining, ConfinedUpdates, Subject

    subject = Subject(replica, setup, protocol.network, protocol.task, acting.target, acting.parent_facts())
    started = time.perf_counter()
    try:
        with ConfinedTraining(acting.source, acting.parameters, limits, acting.kind, subject) as training:
            updates = ConfinedUpdates(training, subject, acting.kind)
            learns = acting.kind == "learner"
            (outcome,) = train(
                [replica],
                setup,
                progress,
                checkpoints=checkpoints,
                hooks=None if learns else lambda _: [updates.hook],
                learners=(lambda _: updates.learner) if learns else None,
                elsewhere=lambda _, group: updates.of(group),
            )
            return replace(outcome, cpu_seconds=outcome.cpu_seconds + training.cpu_seconds())
    except BadPruner as error:
        return failed(str(error), time.perf_counter() - started)


def failed(reason: str, seconds: float) -> Outcome:
    """A training that gave nothing."""
    return Outcome({}, History((), (), (), ()), None, 0, 0, seconds, 0.0, 0.0, failure=reason)
