"""Jobs of one protocol in hand: who does which, what they train together, and who tries again what failed.

A job is done by the process that has its lock, and nothing is written for one whose lock was lost. A cell that failed
is tried once more, by another worker, before its failure is written down.

In a round the next network of every job in hand is trained in one go; on a CPU there is one job in hand. Jobs are taken
in their order, each with its lock, until as many networks are prepared as are trained side by side; the lock is
released when the job has ended. See `planning.batching` for which jobs make a batch.
"""

from __future__ import annotations

import json
import os
import time
from bisect import insort
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.planning.plan import Job
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell
from benchmark.records.leases import Lease
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.utils.errors import LeftToOthers, OutOfTime, Unavailable
from benchmark.utils.files import write_atomically
from benchmark.utils.hardware import host

if TYPE_CHECKING:
    from benchmark.harness.harness import Harness
    from benchmark.harness.settings import Experiment, Prepared


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
        except (OSError, ValueError, TypeError, RecursionError):
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


@dataclass(eq=False)
class _OpenJob:
    """A job in hand: its experiment, what of its cells is still to be done, its lock, and whether it is backfill."""

    job: Job
    cells: list[Cell]
    experiment: Experiment
    lock: ExitStack
    backfill: bool


class Rounds:
    """Jobs of one protocol being worked off. See `Harness.run_jobs` for what each argument means."""

    def __init__(
        self,
        harness: Harness,
        jobs: Sequence[Job],
        width: int,
        backfill: Sequence[Job],
        backfill_width: int,
        most: int = 0,
    ) -> None:
        self._most = most
        self._harness, self._width, self._backfill_width = harness, width, backfill_width
        self._jobs, self._backfill = deque(jobs), deque(backfill)
        self._open_jobs = list[_OpenJob]()
        self._ready: list[tuple[_OpenJob, Prepared]] = []
        self._beside: list[Prepared] = []  # the same without their jobs, as every experiment sees it
        self._come_back_to = list[Job]()

    def run(self) -> list[Job]:
        """Train until no job has anything left; those to come back to. Raises OutOfTime when the budget ends."""
        try:
            while self._round():
                pass
        finally:
            for open_job in self._open_jobs:
                _close(open_job)
        return self._come_back_to

    def _round(self) -> bool:
        """Train the next network of each job that has what it needs; False if there is none."""
        self._ready.clear()
        self._beside.clear()
        out_of_time = False
        try:
            found = self._harness.width
            self._fill(min(found, self._most) if found and self._most else self._width, self._jobs, backfill=False)
            if self._ready:
                self._fill(self._backfill_width, self._backfill, backfill=True)
        except OutOfTime:
            out_of_time = True
        self._train()
        if out_of_time:
            raise OutOfTime
        if not self._ready:  # all wait for what other processes make
            self._come_back_to += [open_job.job for open_job in self._open_jobs if not open_job.backfill]
        return bool(self._ready)

    def _train(self) -> None:
        if not self._ready:
            return
        try:
            outcomes = self._harness.train(self._beside)
        except Unavailable:  # the lock is another process's by now
            for open_job, _ in self._ready:
                self._leave(open_job)
            return
        for (open_job, prepared), outcome in zip(self._ready, outcomes, strict=True):
            try:
                self._harness.finish(prepared, outcome)
            except Unavailable:  # a first failure, or the lock is another's by now
                self._leave(open_job)

    def _fill(self, most: int, waiting: deque[Job], backfill: bool) -> None:
        """Prepare networks up to `most`, first of the jobs in hand, then of further ones."""
        for open_job in [open_job for open_job in self._open_jobs if open_job.backfill == backfill]:
            if len(self._ready) < most:
                self._prepare_next(open_job)
        while len(self._ready) < most and waiting:
            taken = self._take(waiting.popleft(), backfill)
            if taken is not None:
                self._prepare_next(taken)

    def _take(self, job: Job, backfill: bool) -> _OpenJob | None:
        dense = Cell(DENSE, 0, job.cells[0].seed)
        if backfill and job.method != DENSE and not self._harness.settled(dense):
            return None  # it would train that network first, alone
        for open_job in self._open_jobs:
            if open_job.job.name == job.name:  # further levels of a chain, wanted less than its first
                for cell in job.cells:
                    insort(open_job.cells, cell, key=attrgetter("level"))
                return None
        lock, cells = ExitStack(), list(job.cells)
        if not lock.enter_context(self._harness.locks.hold(job)):
            if not backfill:
                self._come_back_to.append(job)
            return None
        open_job = _OpenJob(job, cells, self._harness.experiment(job.name, cells, self._beside), lock, backfill)
        self._open_jobs.append(open_job)
        return open_job

    def _prepare_next(self, open_job: _OpenJob) -> None:
        try:
            prepared = next(open_job.experiment)
        except StopIteration:
            _close(open_job)
            self._open_jobs.remove(open_job)
        except Unavailable:
            self._leave(open_job)
        else:
            if prepared is not None:
                self._ready.append((open_job, prepared))
                self._beside.append(prepared)

    def _leave(self, open_job: _OpenJob) -> None:
        _close(open_job)
        self._open_jobs.remove(open_job)
        if not open_job.backfill:
            self._come_back_to.append(open_job.job)


def _close(open_job: _OpenJob) -> None:
    """Release the locks: those that its experiment holds, and its own."""
    open_job.experiment.close()
    open_job.lock.close()
