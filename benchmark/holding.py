"""The jobs that a worker holds in one protocol; nothing is written for one that was lost meanwhile. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmark.attempts import Unavailable
from benchmark.leases import Lease
from benchmark.plan import Job
from benchmark.protocol import Protocol
from benchmark.records import Cell
from benchmark.store import Store


class Holding:
    """Leases by the names of their jobs."""

    def __init__(self, store: Store, protocol: Protocol) -> None:
        self._store, self._protocol = store, protocol
        self._held: dict[str, Lease] = {}

    @contextmanager
    def job(self, job: Job, wait: bool = False) -> Iterator[bool]:
        """Hold a job, on which its records depend; False if another process has it and `wait` is false."""
        with self._store.lock(self._protocol, job.name, wait) as lease:
            if lease is None:
                yield False
                return
            self._held[job.name] = lease
            try:
                yield True
            finally:
                del self._held[job.name]

    def refuse_lost(self, cell: Cell) -> None:
        """Raise Unavailable if this process was taken for dead (it was stopped for long) and another one goes on."""
        own = self._held.get(Job(self._protocol, (cell,)).name)
        if not all(lease.still_mine() for lease in ([own] if own else self._held.values())):
            raise Unavailable
