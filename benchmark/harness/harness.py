"""The harness: the only thing that trains. It turns a job into records.

Whatever a cell needs and is on disk is not made again (see `harness.start`), so a killed run resumes at its last
finished round, and a fresh clone that holds only committed records retrains no more than the last round of a chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch

from benchmark.datasets.dataset import Dataset, prepared
from benchmark.harness.job_lock import Holding, SecondTries
from benchmark.harness.record import RecordContext, curves_of, failed_record, finished_record, mask_record
from benchmark.harness.settings import Ready, Settings
from benchmark.harness.start import State, Tickets
from benchmark.planning.batching import Pace
from benchmark.planning.cost import company_of
from benchmark.planning.plan import Job, expected_seconds
from benchmark.plugins.registry import PluginSource, locate
from benchmark.plugins.sandbox.template import template
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell, is_chain, train_steps
from benchmark.protocols.methods import MethodSpec
from benchmark.pruning.schedule import ScoreWatch
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.records.submissions import refuse_other_source
from benchmark.training.checkpoint import CheckpointFile, digest_of, load_weights, save_weights
from benchmark.training.loop import train
from benchmark.training.replicas import Outcome, Replica, TrainingSetup
from benchmark.utils.cpu import cpu_settings
from benchmark.utils.errors import BadPruner, NeedFailed, OutOfTime, Unavailable
from benchmark.utils.signals import with_safe_points


class Harness:
    """Runs cells of one protocol into one results folder."""

    def __init__(self, protocol: Protocol, store: Store, settings: Settings, pace: Pace | None = None) -> None:
        self.protocol, self.store, self.settings = protocol, store, settings
        self._pace = pace or Pace()
        self._mask_seconds: dict[str, float] = {}  # by method, of its last mask
        self._watch = ScoreWatch(protocol.pruning)
        self._found: dict[str, PluginSource] = {}
        self._tried: set[Cell] = set()
        self.holding = Holding(store, protocol)
        self.tries = SecondTries(store, protocol, settings.second_tries)
        self.tickets = Tickets(protocol, store, lambda: self.dataset, self.found, self._weights, settings.limits)

    @cached_property
    def dataset(self) -> Dataset:
        """The protocol's data, loaded once."""
        return prepared(self.protocol, self.settings.data_root)

    def run(self, job: Job) -> bool:
        """Run a job's unfinished cells; False if another process has the job or something it needs.

        A cell whose pruner breaks its contract, or that needs a failed network, becomes a failed record, and so do
        the levels of a chain behind it. Raises OutOfTime when the budget ends between two trainings.
        """
        with cpu_settings(), self.holding.job(job) as mine:
            if not mine:
                return False
            if job.method != DENSE:
                template()  # starts while the networks train that are to be pruned
            try:
                self._run_cells(job)
            except Unavailable:
                return False
        return True

    def _run_cells(self, job: Job) -> None:
        blocked: str | None = None
        for cell in job.cells:
            if self.settled(cell):
                continue
            try:
                if blocked:
                    raise NeedFailed(f"level {cell.level}", blocked, "It is tried again with --retry-failed")
                self._measure(cell)
            except (BadPruner, NeedFailed) as error:
                self.record_failure(cell, str(error), final=isinstance(error, NeedFailed))
                if is_chain(self.protocol, cell.method):
                    blocked = f"level {cell.level} failed" if blocked is None else blocked

    def settled(self, cell: Cell) -> bool:
        """Whether nothing is left to do for a cell: finished, or failed and not to be tried again."""
        return cell in self._tried or self.store.settled(self.protocol, cell, self.settings.retry_failed)

    def found(self, pruner: str) -> PluginSource:
        """The pruner's source, looked up once, and not run here."""
        if pruner not in self._found:
            found = locate(pruner, self.settings.plugins)
            refuse_other_source(self.store, self.protocol, pruner, found.digest)
            self._found[pruner] = found
        return self._found[pruner]

    def _weights(self, cell: Cell, what: str) -> State:
        """Trained weights of a cell: from scratch space, else by training it (again)."""
        path = self.store.weights_path(self.protocol, cell, what)
        if (found := load_weights(path)) is not None:
            return found
        self._refuse_failed(cell)
        if cell.method != DENSE:
            self._measure(cell)
        else:
            with self.holding.job(Job(self.protocol, (cell,)), wait=True):
                if (found := load_weights(path)) is None:
                    self._refuse_failed(cell)  # by the process that held the lock
                    self._measure(cell)
        found = load_weights(path)
        if found is None:
            self._refuse_failed(cell)
            raise NeedFailed(f"{cell.method} {cell.name}", f"has no weights '{what}'", "Delete its record to redo it")
        return found

    def _refuse_failed(self, cell: Cell) -> None:
        record = self.store.read(self.protocol, cell)
        if record is not None and record.status == "failed" and self.settled(cell):
            raise NeedFailed(
                f"{cell.method} {cell.name}", f"is needed and failed: {record.reason}", "Retry with --retry-failed"
            )

    def _measure(self, cell: Cell) -> None:
        """Train a cell; keep its weights if a later one needs them, and write its record if there is none."""
        self.tries.refuse_again(cell)
        if self.protocol.trains:
            ready = self.prepared(cell)
            self.finish(ready, self.train([ready])[0])
        else:
            self._measure_mask(cell)

    def prepared(self, cell: Cell, beside: Sequence[Ready] = ()) -> Ready:
        """What a cell's training needs, on disk or made. Raises OutOfTime, Unavailable, BadPruner or NeedFailed.

        `beside`: what it is to be trained side by side with; all of it has to fit the time.
        """
        steps = train_steps(self.protocol, cell)
        together = [*(each.steps for each in beside), steps]
        self._refuse_if_late(together)  # before a mask is made for nothing
        masks, prune_cost = self.tickets.masks(cell)
        start, first_step = self.tickets.start(cell)
        self._refuse_if_late(together)
        snapshots = self._rewind_points() if cell.method == DENSE else ()
        split = self.tickets.split(cell.seed)
        replica = Replica(cell.seed, start, masks, split, first_step + steps, first_step, snapshots)
        return Ready(cell, masks, prune_cost, replica, steps)

    def _refuse_if_late(self, steps: Sequence[int]) -> None:
        if not self.settings.may_start(self._pace.seconds(steps)):
            raise OutOfTime

    def finish(self, ready: Ready, outcome: Outcome) -> None:
        """Keep what was trained if a later cell needs it, and write the record if there is none."""
        cell, masks, prune_cost = ready.cell, ready.masks, ready.prune_cost
        if ready.steps:
            company = company_of(outcome.company)
            self._pace.seen(company, company * outcome.seconds / ready.steps)
        for what, state in self._kept(cell, outcome).items():
            save_weights(self.store.weights_path(self.protocol, cell, what), state, self.store.work)
        if not self.settled(cell):
            record = finished_record(self._context(cell), masks, prune_cost, outcome)
            self._settle(cell, record, None if outcome.failure else curves_of(outcome.history))
        self.store.weights_path(self.protocol, cell, "checkpoint").unlink(missing_ok=True)
        if is_chain(self.protocol, cell.method) and cell.level > 1:
            before = Cell(cell.method, cell.level - 1, cell.seed)
            self.store.weights_path(self.protocol, before, "final").unlink(missing_ok=True)

    def _measure_mask(self, cell: Cell) -> None:
        """Make a cell's mask and write what it is, for a protocol that trains nothing."""
        if cell.method not in self._mask_seconds:
            expected = expected_seconds(self.protocol, self.store.records(self.protocol))
            self._mask_seconds[cell.method] = expected([cell])
        # Levels cut from scores that are here already take next to no time; without them the scoring would be lost.
        seconds = 0.0 if self.tickets.has_scores(cell) else self._mask_seconds[cell.method]
        if not self.settings.may_start(seconds):
            raise OutOfTime
        self._watch.restart()
        masks, cost = self.tickets.masks(cell, self._watch)
        self._mask_seconds[cell.method] = cost.seconds
        self._write(cell, mask_record(self._context(cell), masks, cost, self._watch.facts), None)

    def train(self, ready: Sequence[Ready]) -> list[Outcome]:
        """Train prepared cells: one after another on the CPU, side by side on another device."""
        with with_safe_points():
            return train(
                [each.replica for each in ready],
                TrainingSetup(self.tickets.module, self.protocol.recipe, self.protocol.evaluation, self.dataset),
                lambda number, done, total: self._progress(ready[number].cell, done, total),
                self.settings.placement,
                [self._checkpoints(each.cell, each.replica) for each in ready],
            )

    def _checkpoints(self, cell: Cell, replica: Replica) -> CheckpointFile:
        words = [self.protocol.digest, torch.__version__, str(cell), f"{replica.first_step} to {replica.last_step}"]
        words += [str(self.settings.placement)] if self.settings.placement else []
        of = digest_of(words, replica.start, replica.masks)
        path = self.store.weights_path(self.protocol, cell, "checkpoint")
        return CheckpointFile(path, self.store.work, of, self.settings.checkpoint_seconds)

    def _progress(self, cell: Cell, done: int, total: int) -> None:
        if self.settings.placement is None:  # else the others that are trained with it go on
            self.holding.refuse_lost(cell)
        self.settings.on_progress(cell, done, total)

    def _rewind_points(self) -> tuple[int, ...]:
        """Updates after which the dense network's weights are kept."""
        specs = [spec for spec in self.protocol.methods.values() if isinstance(spec, MethodSpec)]
        rewound = [s.schedule.restart for s in specs if s.schedule.weights == "rewound"]
        return tuple(sorted({restart for restart in rewound if isinstance(restart, int)} - {0}))

    def _kept(self, cell: Cell, outcome: Outcome) -> dict[str, State]:
        if outcome.failure or (cell.method != DENSE and not is_chain(self.protocol, cell.method)):
            return {}
        return {
            "final": outcome.weights,
            **{f"step-{step}": state for step, state in outcome.snapshots.items()},
        }

    def _settle(self, cell: Cell, record: Record, curves: bytes | None) -> None:
        """Write a record, unless it is a first failure. Raises Unavailable then."""
        self._write(cell, self.tries.settled(cell, record), curves)

    def record_failure(self, cell: Cell, reason: str, final: bool = True) -> None:
        """Write down why a cell cannot be measured; if not `final`, at the second failure. Raises Unavailable then."""
        (self._write if final else self._settle)(cell, failed_record(self._context(cell), reason), None)

    def _context(self, cell: Cell) -> RecordContext:
        source = None if cell.method == DENSE else self.found(self.protocol.pruning_method(cell.method).pruner)
        placement = self.settings.placement
        device = placement.device if placement else "cpu"
        return RecordContext(self.protocol, cell, source, self.dataset.digest, device)

    def _write(self, cell: Cell, record: Record, curves: bytes | None) -> None:
        self.holding.refuse_lost(cell)
        self.store.write(self.protocol, cell, record, curves)
        self.tries.forget(cell)
        self._tried.add(cell)
        self.settings.on_record(cell, record)
