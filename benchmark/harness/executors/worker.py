"""One process working through a plan: takes the next job nobody else holds, until nothing is left or time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Literal

from benchmark.datasets.source import data_root
from benchmark.harness.harness import Harness, Settings
from benchmark.planning.batching import Batch, costs_of, packed
from benchmark.planning.cost import CostModel, Throughput, this_device
from benchmark.planning.plan import PlannedJob
from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell, source_cells
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.training.device import device_name
from benchmark.training.fused.decisions import fused_on
from benchmark.training.loop import Placement
from benchmark.training.replicas import strategy_for
from benchmark.utils.errors import OutOfTime

POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Events:
    """What a worker tells its listener."""

    progress: Callable[[Protocol, Cell, int, int, Mapping[str, float]], None]
    recorded: Callable[[Protocol, Cell, Record], None]


class Budget:
    """What a worker may still begin: trainings that end before `deadline`, a time.monotonic() value; None: all.

    Until its first record is written, a training may be as long as `seconds`, the whole budget that the plan was made
    with, whatever the time is. A budget in which one cell fits measures one: how long Python takes to start and kernels
    to compile on a busy machine is not known when the plan says that it fits, and a cell may take two trainings, of its
    mask and of the network.
    """

    def __init__(self, deadline: float | None, seconds: float | None = None) -> None:
        self._deadline, self._first = deadline, seconds

    def end_promise(self) -> None:
        """A record is written, or every job was looked at: from now on the deadline holds."""
        self._first = None

    def fits(self, seconds: float) -> bool:
        """Whether a training of this length may begin now."""
        return seconds <= max(self._left, self._first or 0.0)

    @property
    def over(self) -> bool:
        """Whether no further job is to be looked at: time is up, and a record is written or none was promised."""
        return self._left <= 0 and self._first is None

    @property
    def _left(self) -> float:
        return inf if self._deadline is None else self._deadline - time.monotonic()


@dataclass(frozen=True)
class Options:
    """How to work. `deadline` is a time.monotonic() value, `seconds` how long the budget was when that was set;
    `plugins` maps names to files.

    On "cuda" jobs run in batches, see `planning.batching`. `workers`: workers that share the work, as far as is known.
    """

    deadline: float | None = None
    seconds: float | None = None
    plugins: Mapping[str, Path] = field(default_factory=dict)
    retry_failed: bool = False
    second_tries: bool = True
    checkpoint_seconds: float = 60.0
    device: Literal["cpu", "cuda"] = "cpu"
    workers: int = 1


def work(jobs: Sequence[PlannedJob], store: Store, options: Options, events: Events) -> None:
    """Run `jobs` in order until all are finished or none fits the time.

    A job held by another process is come back to: it may need finishing if that process dies. On a CPU, jobs of which
    no cell fits the whole budget are not looked at: their data would be read for nothing.
    """
    costs, budget = costs_of(jobs, store), Budget(options.deadline, options.seconds)
    harnesses: dict[str, Harness] = {}
    taken = _taken_from({item.job.protocol for item in jobs})
    longest = inf if options.seconds is None or options.device != "cpu" else options.seconds
    waiting = [item for item in jobs if item.seconds <= longest * len(item.job.cells)]
    while waiting:
        held, refused = list[PlannedJob](), 0
        for batch in packed(waiting, costs, options.device, options.workers):
            if budget.over:
                return  # a look at each of thousands of jobs would take minutes
            protocol = batch.jobs[0].job.protocol
            if protocol.key not in harnesses:
                keep = taken.get(protocol.key, frozenset()).__contains__
                harnesses[protocol.key] = _harness(protocol, store, options, events, costs, budget, keep)
            harness = harnesses[protocol.key]
            harness.tries.left = 0
            try:
                held += _run(harness, batch)
            except OutOfTime:
                continue
            refused += harness.tries.left
        budget.end_promise()
        if budget.over:
            return
        if len(held) == len(waiting):
            time.sleep(POLL_SECONDS)
        # What failed here is tried here again only if, after a while, everything left is of that kind: had others been
        # there, they would have taken it.
        for harness in harnesses.values():
            harness.tries.alone = refused == len(held) == len(waiting)
        waiting = held


def _run(harness: Harness, batch: Batch) -> list[PlannedJob]:
    """The part of a batch that has to be come back to."""
    jobs, backfill = [item.job for item in batch.jobs], [item.job for item in batch.backfill]
    left = {job.name for job in harness.run_jobs(jobs, batch.width, backfill, batch.backfill_width, batch.most)}
    return [item for item in batch.jobs if item.job.name in left]


def placement_for(protocol: Protocol, device: str) -> Placement | None:
    """Where a protocol's networks are trained; None is one after another on this core."""
    if device == "cpu":
        return None
    strategy = strategy_for(protocol.network)
    name = device_name(device).partition(": ")[2]
    return Placement("cuda", strategy, fused_on(name, strategy, protocol.recipe.precision))


def _taken_from(protocols: Iterable[Protocol]) -> dict[str, frozenset[Cell]]:
    """By the key of a source protocol, its cells whose trained networks others of these start from."""
    found: dict[str, frozenset[Cell]] = {}
    for protocol in protocols:
        for method in protocol.pruning_methods:
            for source, cells in source_cells(protocol, method).items():
                found[source.key] = found.get(source.key, frozenset()) | cells
    return found


def _harness(
    protocol: Protocol,
    store: Store,
    options: Options,
    events: Events,
    costs: CostModel,
    budget: Budget,
    keep: Callable[[Cell], bool],
) -> Harness:
    def recorded(cell: Cell, record: Record) -> None:
        budget.end_promise()
        events.recorded(protocol, cell, record)

    settings = Settings(
        data_root=data_root(),
        plugins=options.plugins,
        retry_failed=options.retry_failed,
        second_tries=options.second_tries,
        checkpoint_seconds=options.checkpoint_seconds,
        placement=placement_for(protocol, options.device),
        keep=keep,
        may_start=budget.fits,
        on_progress=lambda cell, done, total, latest: events.progress(protocol, cell, done, total, latest),
        on_record=recorded,
    )
    place = this_device(options.device)
    widths = costs.widths(protocol, place) if options.device == "cuda" else None
    learned = costs.learning_seconds_per_step(protocol, place)
    learning = Throughput(lambda replicas: replicas * learned)
    throughput = Throughput(costs.wall(protocol, place), widths, costs.saving(protocol, place))
    return Harness(protocol, store, settings, throughput, learning=learning)
