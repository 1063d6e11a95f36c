"""One process working through a plan: takes the next job nobody else holds, until nothing is left or time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.data_root import data_root
from benchmark.errors import EnvironmentProblem
from benchmark.harness import Harness, OutOfTime, Settings
from benchmark.plan import PlannedJob, seconds_per_step
from benchmark.protocol import Protocol
from benchmark.records import Cell, Record
from benchmark.store import Store
from benchmark.training.engine import configure_cpu

POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Events:
    """What a worker tells its listener."""

    started: Callable[[Protocol, str], None]
    progress: Callable[[Protocol, Cell, int, int], None]
    recorded: Callable[[Protocol, Cell, Record], None]


def work(
    jobs: Sequence[PlannedJob], store: Store, deadline: float | None, plugins: dict[str, Path], events: Events
) -> int:
    """Run `jobs` in order; returns how many did not fit the time. `deadline` is a time.time() value.

    A job held by another process is come back to: it may need finishing if that process dies.
    """
    configure_cpu()
    harnesses: dict[str, Harness] = {}
    waiting, no_time = list(jobs), 0
    while waiting:
        held = []
        for planned in waiting:
            protocol = planned.job.protocol
            if protocol.key not in harnesses:
                harnesses[protocol.key] = _harness(protocol, store, deadline, plugins, events)
            events.started(protocol, planned.job.name)
            try:
                if not harnesses[protocol.key].run(planned.job):
                    held.append(planned)
            except OutOfTime:
                no_time += 1
        if len(held) == len(waiting):
            if deadline is not None and time.time() > deadline:
                return no_time + len(held)
            time.sleep(POLL_SECONDS)
        waiting = held
    return no_time


def _harness(
    protocol: Protocol, store: Store, deadline: float | None, plugins: dict[str, Path], events: Events
) -> Harness:
    def fits(seconds: float) -> bool:
        return deadline is None or time.time() + seconds <= deadline

    settings = Settings(
        data_root=data_root(),
        plugins=plugins,
        may_start=fits,
        on_progress=lambda cell, done, total: events.progress(protocol, cell, done, total),
        on_record=lambda cell, record: events.recorded(protocol, cell, record),
    )
    return Harness(protocol, store, settings, seconds_per_step(protocol, store.records(protocol)))


def obtain_data(protocol: Protocol) -> str | None:
    """Fetch the protocol's data if it is missing; the reason if that failed."""
    from benchmark.data_root import needs_download
    from benchmark.datasets import mnist

    root = data_root()
    if not needs_download(protocol.data.name, root):
        return None
    try:
        mnist.fetch(root)
    except EnvironmentProblem as problem:
        return str(problem)
    return None
