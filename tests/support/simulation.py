"""How long a plan takes on 1 to 256 workers, simulated from the plan that real workers are given. No torch.

    python tests/support/simulation.py [--results results] [--hours-between-deaths 24] [PROTOCOL[:METHOD]]...
    python tests/support/simulation.py --device cuda [PROTOCOL[:METHOD]]...

Workers do what `executors.worker.work` does: each takes the first job of the plan that nobody holds. A worker that dies
loses what it did since the last checkpoint, its lease expires, and it is back after a while, as a requeued task is.
With GPUs, batches run side by side as `planning.batching` foresees it, and nobody dies. What is left out: starting
Python, reading the results folder, and cells that wait for a dense network.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import click
from tabulate import tabulate

from benchmark.cli.options import device_option, only_argument, results_option
from benchmark.planning.batching import estimate, packed
from benchmark.planning.cost import CostModel, this_device
from benchmark.planning.plan import PlannedJob, speed_from
from benchmark.planning.select import planned_for, protocols_in, selection_of
from benchmark.records.store import Store
from benchmark.utils.files import spoken

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class World:
    """Seconds. `between_deaths`: the mean life of a worker, None for ever; `lost`: of work at a death, on average half
    of it; `patience`: until a dead holder's job is free; `back`: until a dead worker is replaced."""

    between_deaths: float | None = None
    lost: float = 60.0
    patience: float = 60.0
    back: float = 120.0


@dataclass(frozen=True)
class Outcome:
    """Seconds until the last job ended, and how many workers died on the way."""

    makespan: float
    deaths: int


@dataclass(order=True)
class _Free:
    """A job that can be taken from `since` on; the plan's order decides among those that can."""

    place: int
    since: float = field(compare=False)
    left: float = field(compare=False)


def ideal(seconds: Sequence[float], workers: int) -> float:
    """No schedule is shorter: all workers busy all the time, or the longest job."""
    return max(sum(seconds) / workers, max(seconds, default=0.0))


def simulate(seconds: Sequence[float], workers: int, world: World, seed: int = 0) -> Outcome:
    """Let `workers` take jobs of these lengths in order."""
    chance = random.Random(seed)
    jobs = [_Free(place, 0.0, left) for place, left in enumerate(seconds)]
    free = [(0.0, number) for number in range(workers)]
    ended, deaths = 0.0, 0
    heapq.heapify(free)
    while jobs:
        now, worker = heapq.heappop(free)
        job = next((job for job in jobs if job.since <= now), None)
        if job is None:  # all that is left waits for a lease to expire
            heapq.heappush(free, (min(job.since for job in jobs), worker))
            continue
        jobs.remove(job)
        life = chance.expovariate(1 / world.between_deaths) if world.between_deaths else float("inf")
        if life >= job.left:
            heapq.heappush(free, (now + job.left, worker))
            ended = max(ended, now + job.left)
            continue
        deaths += 1
        kept = max(0.0, life - chance.uniform(0, world.lost))
        heapq.heappush(free, (now + life + world.back, worker))
        again = _Free(job.place, now + life + world.patience, job.left - kept)
        jobs.insert(next((n for n, other in enumerate(jobs) if other.place > again.place), len(jobs)), again)
    return Outcome(ended, deaths)


@click.command()
@only_argument
@results_option
@device_option
@click.option("--hours-between-deaths", type=float, default=24.0, show_default=True, help="Of one worker, on average.")
def main(only: tuple[str, ...], results: Path, device: Literal["cpu", "cuda"], hours_between_deaths: float) -> None:
    """Simulate the whole grid of the selected protocols, at the speeds that records of this folder show."""
    selection, store = selection_of(only), Store(results)
    costs = CostModel.learn({protocol: store.records(protocol) for protocol in protocols_in(selection)})
    with TemporaryDirectory() as empty:
        nothing = Store(Path(empty))
        planned = planned_for(selection, nothing, device=device)
    planned = speed_from(planned, store, costs, this_device(device))
    cells, seconds = sum(len(item.job.cells) for item in planned), [item.seconds for item in planned]
    unit = "one core" if device == "cpu" else "one GPU"
    click.echo(f"{cells:,} cells in {len(planned):,} jobs, {spoken(sum(seconds))} of {unit}\n")
    rows, head = _on_cores(seconds, hours_between_deaths) if device == "cpu" else _on_gpus(planned, costs)
    click.echo(tabulate(rows, head, tablefmt="pipe", disable_numparse=True))


def _on_gpus(planned: Sequence[PlannedJob], costs: CostModel) -> tuple[list[list[str]], list[str]]:
    rows = []
    one = estimate(planned, packed(planned, costs, "cuda")).seconds
    for workers in SIZES:
        found = estimate(planned, packed(planned, costs, "cuda", workers), workers).seconds
        rows.append([str(workers), spoken(found), f"{one / found:.1f}", f"{100 * one / found / workers:.0f} %"])
    return rows, ["GPUs", "makespan", "times as fast", "efficiency"]


def _on_cores(seconds: Sequence[float], hours_between_deaths: float) -> tuple[list[list[str]], list[str]]:
    rows = []
    for workers in SIZES:
        best = ideal(seconds, workers)
        calm = simulate(seconds, workers, World())
        stormy = simulate(seconds, workers, World(3600 * hours_between_deaths))
        rows.append(
            [str(workers), spoken(best), spoken(calm.makespan), f"{100 * best / calm.makespan:.0f} %",
             spoken(stormy.makespan), f"{100 * best / stormy.makespan:.0f} %", str(stormy.deaths)]
        )  # fmt: skip
    return rows, ["workers", "ideal", "makespan", "of ideal", "with failures", "of ideal", "deaths"]


if __name__ == "__main__":
    main()
