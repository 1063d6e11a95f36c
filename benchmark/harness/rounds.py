"""Rounds of training: the next network of every job in hand, trained in one go. On a CPU there is one job in hand.

Jobs are taken in their order, each with its lock, until as many networks are prepared as are trained side by side;
the lock is released when the job has ended. See `planning.batching` for which jobs make a batch.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from benchmark.planning.plan import Job
from benchmark.protocols.cells import DENSE, Cell
from benchmark.utils.errors import OutOfTime, Unavailable

if TYPE_CHECKING:
    from benchmark.harness.harness import Experiment, Harness, Prepared


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
