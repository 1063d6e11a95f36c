"""One process working through a plan: takes the next job nobody else holds, until nothing is left or time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmark.data_root import data_root
from benchmark.harness import Harness, OutOfTime, Settings
from benchmark.plan import PlannedJob, seconds_per_step
from benchmark.protocol import Protocol
from benchmark.records import Cell, Record
from benchmark.side_by_side import run_together
from benchmark.store import Store
from benchmark.training import Place
from benchmark.training.ways import way_for

POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Events:
    """What a worker tells its listener."""

    progress: Callable[[Protocol, Cell, int, int], None]
    recorded: Callable[[Protocol, Cell, Record], None]


@dataclass(frozen=True)
class Options:
    """How to work. `deadline` is a time.time() value; `plugins` maps names to files.

    On "cuda" the jobs of a protocol are trained side by side.
    """

    deadline: float | None = None
    plugins: Mapping[str, Path] = field(default_factory=dict)
    retry_failed: bool = False
    second_tries: bool = True
    checkpoint_seconds: float = 60.0
    device: Literal["cpu", "cuda"] = "cpu"


def work(jobs: Sequence[PlannedJob], store: Store, options: Options, events: Events) -> None:
    """Run `jobs` in order until all are finished or none fits the time.

    A job held by another process is come back to: it may need finishing if that process dies.
    """
    harnesses: dict[str, Harness] = {}
    waiting = list(jobs)
    while waiting:
        held, left = [], 0
        for group in _groups(waiting, options.device):
            if options.deadline is not None and time.time() > options.deadline:
                return  # a look at each of thousands of jobs would take minutes
            protocol = group[0].job.protocol
            if protocol.key not in harnesses:
                harnesses[protocol.key] = _harness(protocol, store, options, events)
            try:
                harness = harnesses[protocol.key]
                harness.tries.left = False
                held += _run(harness, group)
                left += harness.tries.left
            except OutOfTime:
                continue
        if options.deadline is not None and time.time() > options.deadline:
            return
        if len(held) == len(waiting):
            time.sleep(POLL_SECONDS)
        # What failed here is tried here again only if, after a while, everything left is of that kind: had others been
        # there, they would have taken it.
        for harness in harnesses.values():
            harness.tries.alone = left == len(held) == len(waiting)
        waiting = held


def _groups(jobs: Sequence[PlannedJob], device: str) -> list[list[PlannedJob]]:
    """What is run at once: each job by itself on the CPU, all jobs of a protocol on another device."""
    if device == "cpu":
        return [[planned] for planned in jobs]
    groups: dict[str, list[PlannedJob]] = {}
    for planned in jobs:
        groups.setdefault(planned.job.protocol.key, []).append(planned)
    return list(groups.values())


def _run(harness: Harness, group: Sequence[PlannedJob]) -> list[PlannedJob]:
    """The part of a group that has to be come back to."""
    if harness.settings.place is None or not harness.protocol.trains:
        return [planned for planned in group if not harness.run(planned.job)]
    left = {job.name for job in run_together(harness, [planned.job for planned in group])}
    return [planned for planned in group if planned.job.name in left]


def _harness(protocol: Protocol, store: Store, options: Options, events: Events) -> Harness:
    def fits(seconds: float) -> bool:
        return options.deadline is None or time.time() + seconds <= options.deadline

    settings = Settings(
        data_root=data_root(),
        plugins=options.plugins,
        retry_failed=options.retry_failed,
        second_tries=options.second_tries and options.device == "cpu",
        checkpoint_seconds=options.checkpoint_seconds,
        place=None if options.device == "cpu" else Place(options.device, way_for(protocol.network)),
        may_start=fits,
        on_progress=lambda cell, done, total: events.progress(protocol, cell, done, total),
        on_record=lambda cell, record: events.recorded(protocol, cell, record),
    )
    return Harness(protocol, store, settings, seconds_per_step(protocol, store.records(protocol)))
