"""The portable kernels beside torch, by density: updates and evaluations of one network on one core, in turns in one
process.

Four contenders: the kernels, the engine by torch, and the two usual loops in PyTorch. What a whole cell of the protocol
takes follows from its numbers of updates and of evaluated examples. Times are of the thread's processor time, medians
over the turns: on a busy machine all are slowed alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal, get_args

import torch

from benchmark.datasets.dataset import Split
from benchmark.perf.loops import Contender, evaluation, updates
from benchmark.perf.workload import Workload
from benchmark.protocols import Protocol
from benchmark.protocols.protocol import PORTABLE_FAMILIES
from benchmark.protocols.recipe import DATASETS
from benchmark.pruning.interface import Masks
from benchmark.training.device import cpu_settings
from benchmark.training.kernels import engine
from benchmark.training.kernels.group import shape_of
from benchmark.training.loop import engine_for
from benchmark.training.replicas import TrainingSetup
from benchmark.utils.errors import BadInput, EnvironmentProblem

DENSITIES = (1.0, 0.51, 0.21, 0.07, 0.036, 0.019)
UPDATES = 20  # of one turn
LOOKED_AT = 5000  # examples of one evaluation
PEAK_ROUNDS = 500_000
Name = Literal["kernels", "torch", "in-memory", "dataloader"]
NAMES: tuple[Name, ...] = get_args(Name)


@dataclass(frozen=True)
class Taken:
    """Seconds of an update, and of looking at an example."""

    update: float
    look: float

    def cell(self, protocol: Protocol) -> float:
        """Seconds of all updates and evaluations of a dense network of the protocol, or of one at a level."""
        evaluation, steps = protocol.evaluation, protocol.recipe.steps
        examples = len(evaluation.steps(steps)) * protocol.data.validation
        examples += len(evaluation.test_steps(steps)) * DATASETS.get(protocol.data.name).test_examples
        return steps * self.update + examples * self.look


@dataclass(frozen=True)
class Compared:
    """What each contender takes at one density, and what the kernels make of the core: `of_peak` is the fraction of its
    fused multiply-adds that update surviving weights."""

    density: float
    taken: Mapping[Name, Taken]
    of_peak: float


def compare(protocol: Protocol, turns: int) -> tuple[list[Compared], float]:
    """All contenders at every density, and the core's peak in operations a second.

    Raises BadInput if the kernels do not train the protocol's network, EnvironmentProblem if they cannot run here.
    """
    if protocol.network.family not in PORTABLE_FAMILIES:
        raise BadInput(f"{protocol.key} --part kernels", "the kernels train MLPs and LeNet-5", "Name such a network")
    if (why := engine.missing()) is not None:
        raise EnvironmentProblem("--part kernels", why, "Install numba")
    with cpu_settings():
        workload = Workload.of(protocol)
        peak = _peak(turns)
        return [_at(density, workload, peak, turns) for density in DENSITIES], peak


def _at(density: float, workload: Workload, peak: float, turns: int) -> Compared:
    work = {name: _contender(name, density, workload) for name in NAMES}
    seconds: dict[Name, list[tuple[float, float]]] = {name: [] for name in NAMES}
    for _ in range(turns + 1):
        for name, (update, look) in work.items():
            seconds[name].append((_thread_seconds(update) / UPDATES, _thread_seconds(look) / LOOKED_AT))
    # The first turn warms up.
    taken = {name: Taken(*(median(column) for column in zip(*own[1:], strict=True))) for name, own in seconds.items()}
    # Forward, backward and gradient of every surviving weight; nothing goes back to the inputs.
    layers = shape_of(workload.module(None)).multiply_adds
    operations = density * workload.recipe.batch_size * (6 * sum(layers) - 2 * layers[0])
    return Compared(density, taken, operations / taken["kernels"].update / peak)


def _contender(name: Name, density: float, workload: Workload) -> tuple[Callable[[], object], Callable[[], object]]:
    """What makes `UPDATES` updates, and what looks at `LOOKED_AT` examples."""
    if name in ("in-memory", "dataloader"):
        go = updates(Contender(name), workload, 0)
        return lambda: go(UPDATES), evaluation(name, workload, LOOKED_AT)
    recipe = workload.recipe.model_copy(update={"arithmetic": "portable" if name == "kernels" else "torch"})
    setup = TrainingSetup(workload.module, recipe, workload.protocol.evaluation, workload.dataset)
    make_group, make_updates = engine_for(setup, None)
    rows = torch.randperm(len(workload.dataset.train_labels), generator=torch.Generator().manual_seed(0))
    split = Split(rows[LOOKED_AT:], rows[:LOOKED_AT])
    group = make_group([replace(workload.replica(0), masks=_masks(density, workload), split=split)], setup, False)
    advance = make_updates(group.steps)
    done = 0

    def update() -> None:
        nonlocal done
        advance(done, done + UPDATES)
        done += UPDATES

    return update, group.validation_metrics


def _masks(density: float, workload: Workload) -> Masks:
    rng = torch.Generator().manual_seed(0)
    shapes = workload.protocol.pruning.prunable
    return {name: torch.rand(shape, generator=rng) < density for name, shape in shapes.items()}


def _peak(turns: int) -> float:
    from benchmark.training.kernels.peak import OPERATIONS, fused_multiply_adds

    best = min(_thread_seconds(lambda: fused_multiply_adds(PEAK_ROUNDS)) for _ in range(turns + 1))
    return OPERATIONS * PEAK_ROUNDS / best


def _thread_seconds(run: Callable[[], object]) -> float:
    started = time.thread_time()
    run()
    return time.thread_time() - started
