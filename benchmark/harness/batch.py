"""Running a batch on a device: the next cell of every job in hand is trained in one go, see `planning.batching`."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack

from benchmark.harness.harness import Harness
from benchmark.harness.settings import Ready
from benchmark.planning.batching import Batch
from benchmark.planning.plan import Job
from benchmark.protocols.cells import DENSE, Cell, is_chain
from benchmark.utils.cpu import cpu_settings
from benchmark.utils.errors import BadPruner, LeftToOthers, NeedFailed, OutOfTime, Unavailable


def run_together(harness: Harness, batch: Batch) -> list[Job]:
    """Work off a batch; those of its jobs that have to be come back to. Riders are not, they have a batch of their own.

    As in `Harness.run`, a cell whose pruner breaks its contract becomes a failed record, and so do the levels of its
    chain behind it. Raises OutOfTime when the budget ends; what was prepared by then is trained and recorded.
    """
    with cpu_settings():
        hand = _Hand(harness, batch)
        try:
            while hand.round():
                pass
        finally:
            hand.let_go()
    return hand.left


class _Hand:
    """The jobs that this worker holds the leases of."""

    def __init__(self, harness: Harness, batch: Batch) -> None:
        self.harness, self.batch = harness, batch
        self.left = list[Job]()
        self._jobs = deque(item.job for item in batch.jobs)
        self._waiting_riders = deque(item.job for item in batch.riders)
        self._peers, self._riders = list[_Line](), list[_Line]()

    def round(self) -> bool:
        """Train the next cell of each job that has what it needs; False if there is none."""
        ready, out_of_time = list[tuple[_Line, Ready]](), False
        try:
            self._prepare(self._peers, self._jobs, self.batch.width, ready)
            if ready:
                self._prepare(self._riders, self._waiting_riders, self.batch.free, ready)
        except OutOfTime:
            out_of_time = True
        found = self.harness.train([each for _, each in ready]) if ready else []
        for (line, each), outcome in zip(ready, found, strict=True):
            try:
                self.harness.finish(each, outcome)
            except Unavailable:  # a first failure, or the lease is another's by now
                self._leave(line)
        if out_of_time:
            raise OutOfTime
        if not ready:
            self.left += [line.job for line in self._peers]  # all wait for what other processes make
        return bool(ready)

    def let_go(self) -> None:
        """Release every lease."""
        for line in self._peers + self._riders:
            line.leases.close()

    def _prepare(self, hand: list[_Line], queue: deque[Job], most: int, ready: list[tuple[_Line, Ready]]) -> None:
        """Fill `ready` up to `most`, first from the jobs in hand, then with further ones."""
        for line in list(hand):
            if len(ready) < most:
                self._next(line, hand, ready)
        while len(ready) < most and queue:
            taken = self._take(queue.popleft(), hand)
            if taken is not None:
                self._next(taken, hand, ready)

    def _take(self, job: Job, hand: list[_Line]) -> _Line | None:
        riding = hand is self._riders
        if riding and job.method != DENSE and not self.harness.settled(Cell(DENSE, 0, job.cells[0].seed)):
            return None  # it would train that network first, alone
        for line in hand:
            if line.job.name == job.name:  # further levels of a chain, wanted less than its first
                line.cells = deque(sorted([*line.cells, *job.cells], key=lambda cell: cell.level))
                return None
        line = _Line(self.harness, job)
        if not line.leases.enter_context(self.harness.holding.job(job)):
            if not riding:
                self.left.append(job)
            return None
        hand.append(line)
        return line

    def _next(self, line: _Line, hand: list[_Line], ready: list[tuple[_Line, Ready]]) -> None:
        try:
            found = line.next([each for _, each in ready])
        except LeftToOthers:
            self._leave(line)
            return
        except Unavailable:  # here or elsewhere, its masks are being made
            return
        if found is not None:
            ready.append((line, found))
        elif not line.cells:
            line.leases.close()
            hand.remove(line)

    def _leave(self, line: _Line) -> None:
        line.leases.close()
        for hand in (self._peers, self._riders):
            if line in hand:
                hand.remove(line)
                self.left += [line.job] if hand is self._peers else []


class _Line:
    """One job's cells in their order; each may need the one before."""

    def __init__(self, harness: Harness, job: Job) -> None:
        self.harness, self.job = harness, job
        self.cells = deque(job.cells)
        self.leases = ExitStack()
        self._blocked: str | None = None

    def next(self, beside: Sequence[Ready]) -> Ready | None:
        """The next cell that is not settled, prepared; None if there is none left.

        Raises OutOfTime if it does not fit the time `beside` others, and Unavailable if it cannot be prepared yet.
        """
        while self.cells:
            cell = self.cells[0]
            if self.harness.settled(cell):
                self.cells.popleft()
                continue
            try:
                if self._blocked:
                    raise NeedFailed(f"level {cell.level}", self._blocked, "It is tried again with --retry-failed")
                self.harness.tries.refuse_again(cell)
                ready = self.harness.prepared(cell, beside)
            except (BadPruner, NeedFailed) as error:
                self._fail(cell, error)
                continue
            self.cells.popleft()
            return ready
        return None

    def _fail(self, cell: Cell, error: BadPruner | NeedFailed) -> None:
        self.harness.record_failure(cell, str(error), final=isinstance(error, NeedFailed))
        if is_chain(self.harness.protocol, cell.method) and self._blocked is None:
            self._blocked = f"level {cell.level} failed"
