"""Running many jobs of one protocol at once on a device: the next cell of every job is trained in one batch of work."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack

from benchmark.attempts import Unavailable
from benchmark.errors import BadPruner, NeedFailed
from benchmark.harness import Harness, OutOfTime, Ready, cpu_settings
from benchmark.plan import Job, is_chain
from benchmark.records import DENSE, Cell

MOST = 64  # replicas that are tried side by side; what memory does not hold is halved


def run_together(harness: Harness, jobs: Sequence[Job]) -> list[Job]:
    """Run the unfinished cells of jobs side by side; the jobs that have to be come back to.

    Dense networks first, since others start from them. As in `Harness.run`, a cell whose pruner breaks its contract
    becomes a failed record, and so do the levels of its chain behind it. Raises OutOfTime when the budget ends; what
    was prepared by then is trained and recorded.
    """
    left: list[Job] = []
    dense = [job for job in jobs if job.method == DENSE]
    others = [job for job in jobs if job.method != DENSE]
    for stage in (dense, others):
        for first in range(0, len(stage), MOST):
            left += _batch(harness, stage[first : first + MOST])
    return left


def _batch(harness: Harness, jobs: Sequence[Job]) -> list[Job]:
    with cpu_settings(), ExitStack() as locks:
        mine, left = list[_Line](), list[Job]()
        for job in jobs:
            if locks.enter_context(harness.store.lock(harness.protocol, job.name, wait=False)):
                mine.append(_Line(harness, job))
            else:
                left.append(job)
        while any(line.cells for line in mine):
            ready, out_of_time = list[Ready](), False
            for line in mine:
                try:
                    ready += line.next()
                except Unavailable:
                    left.append(line.job)
                    line.cells.clear()
                except OutOfTime:
                    out_of_time = True
                    break
            for each, outcome in zip(ready, harness.train(ready) if ready else [], strict=True):
                harness.finish(each, outcome)
            if out_of_time:
                raise OutOfTime
    return left


class _Line:
    """One job's cells in their order; each may need the one before."""

    def __init__(self, harness: Harness, job: Job) -> None:
        self.harness, self.job = harness, job
        self.cells = deque(job.cells)
        self._blocked: str | None = None

    def next(self) -> list[Ready]:
        """The next cell, prepared; nothing if it is settled or has failed already."""
        if not self.cells:
            return []
        cell = self.cells.popleft()
        if self.harness.settled(cell):
            return []
        try:
            if self._blocked:
                raise NeedFailed(f"level {cell.level}", self._blocked, "It is tried again with --retry-failed")
            return [self.harness.prepared(cell)]
        except (BadPruner, NeedFailed) as error:
            self._fail(cell, str(error))
            return []

    def _fail(self, cell: Cell, reason: str) -> None:
        self.harness.record_failure(cell, reason)
        if is_chain(self.harness.protocol, cell.method) and self._blocked is None:
            self._blocked = f"level {cell.level} failed"
