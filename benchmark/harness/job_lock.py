"""Who does which job of a protocol, and who tries again what failed. No torch.

A job is done by the process that has its lock, and nothing is written for one whose lock was lost. A cell that failed
is tried once more, by another worker, before its failure is written down.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmark.planning.plan import Job
from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell
from benchmark.records.leases import Lease
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.utils.errors import LeftToOthers, Unavailable
from benchmark.utils.files import write_atomically
from benchmark.utils.hardware import host


@dataclass(frozen=True)
class Attempt:
    """One failed try: where (host and process), when (UTC) and why."""

    by: str
    when: str
    reason: str


def me() -> str:
    """This worker, as attempts name it."""
    return f"{host()}:{os.getpid()}"


class SecondTries:
    """Of one worker in one protocol. `alone`: nobody else is there to try again what failed here.

    `left`: how many cells were left to others since this was last set to 0.
    """

    def __init__(self, store: Store, protocol: Protocol, wanted: bool) -> None:
        self._store, self._protocol, self._wanted = store, protocol, wanted
        self.alone, self.left = False, 0

    def refuse_again(self, cell: Cell) -> None:
        """Raise LeftToOthers for a cell that failed here, while another worker may try it."""
        if not self._wanted or self.alone:
            return
        before = self.first_failure(cell)
        if before is not None and before.by == me():
            self.left += 1
            raise LeftToOthers

    def settled(self, cell: Cell, record: Record) -> Record:
        """The record to write. Raises LeftToOthers for a first failure, which is only noted."""
        if record.status == "failed" and self._wanted:
            before, reason = self.first_failure(cell), record.reason or ""
            if before is None:
                attempt = Attempt(me(), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), reason)
                write_atomically(self._path(cell), json.dumps(asdict(attempt), indent=1).encode(), self._store.work)
                raise LeftToOthers
            if before.reason != reason:
                words = f"{reason} (and before that, on {before.by}: {before.reason})"
                record = record.model_copy(update={"reason": words})
        return record

    def forget(self, cell: Cell) -> None:
        """Its record is written."""
        self._path(cell).unlink(missing_ok=True)

    def first_failure(self, cell: Cell) -> Attempt | None:
        """What was noted; None if nothing was, or it is not readable."""
        try:
            return Attempt(**json.loads(self._path(cell).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _path(self, cell: Cell) -> Path:
        folder = self._store.work / "attempts" / self._protocol.key / self._protocol.digest[:16]
        return folder / cell.method / f"{cell.name}.json"


class JobLocks:
    """The locks that this process holds, by the names of their jobs; a job is done by whoever has its lock."""

    def __init__(self, store: Store, protocol: Protocol) -> None:
        self._store, self._protocol = store, protocol
        self._held: dict[str, Lease] = {}

    @contextmanager
    def hold(self, job: Job) -> Iterator[bool]:
        """Hold a job, on which its records depend; False if another process has it, or another job in hand here."""
        if job.name in self._held:
            yield False
            return
        with self._store.lock(self._protocol, job.name, wait=False) as lease:
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
