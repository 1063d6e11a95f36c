"""The portable kernels beside torch, by density: updates of one network on one core, in turns in one process.

Times are of the thread's processor time, medians over the turns: on a busy machine both engines are slowed alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import torch

from benchmark.perf.workload import Workload
from benchmark.protocols import Protocol
from benchmark.protocols.protocol import PORTABLE_FAMILIES
from benchmark.pruning.interface import Masks
from benchmark.training.device import cpu_settings
from benchmark.training.kernels import engine
from benchmark.training.kernels.group import shape_of
from benchmark.training.loop import engine_for
from benchmark.training.replicas import TrainingSetup
from benchmark.utils.errors import BadInput, EnvironmentProblem

DENSITIES = (1.0, 0.51, 0.21, 0.07, 0.036, 0.019)
UPDATES = 20  # of one turn
PEAK_ROUNDS = 500_000


@dataclass(frozen=True)
class Compared:
    """Seconds of an update at one density, and what the kernels make of the core: `of_peak` is the fraction of its
    fused multiply-adds that update surviving weights."""

    density: float
    kernels: float
    torch: float
    of_peak: float


def compare(protocol: Protocol, turns: int) -> tuple[list[Compared], float]:
    """Both engines at every density, and the core's peak in operations a second.

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
    runs = {name: _updates(name, density, workload) for name in ("portable", "torch")}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(turns + 1):
        for name, run in runs.items():
            seconds[name].append(_thread_seconds(run) / UPDATES)
    kernels, torchs = (median(seconds[name][1:]) for name in ("portable", "torch"))  # the first turn warms up
    # Forward, backward and gradient of every surviving weight; nothing goes back to the inputs.
    layers = shape_of(workload.module(None)).multiply_adds
    operations = density * workload.recipe.batch_size * (6 * sum(layers) - 2 * layers[0])
    return Compared(density, kernels, torchs, operations / kernels / peak)


def _updates(arithmetic: str, density: float, workload: Workload) -> Callable[[], None]:
    recipe = workload.recipe.model_copy(update={"arithmetic": arithmetic})
    setup = TrainingSetup(workload.module, recipe, workload.protocol.evaluation, workload.dataset)
    make_group, make_updates = engine_for(setup, None)
    replica = replace(workload.replica(0), masks=_masks(density, workload))
    advance = make_updates(make_group([replica], setup, False).steps)
    done = 0

    def run() -> None:
        nonlocal done
        advance(done, done + UPDATES)
        done += UPDATES

    return run


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
