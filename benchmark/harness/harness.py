"""The harness: the only thing that trains. It turns jobs into records.

`Harness.experiment` reads as the experiment does: ensure the dense network; for each level make the mask, train,
record. What is on disk is not made again, so a killed run resumes at its last finished round, and a fresh clone that
holds only committed records retrains no more than the last round of a chain. What several jobs have to train at a
time is trained side by side, see `harness.jobs`; on a CPU, one network after another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, cached_property, partial
from itertools import chain
from pathlib import Path

from benchmark.datasets.dataset import Dataset
from benchmark.datasets.dataset import prepared as prepared_data
from benchmark.harness.analysed import AnalysisCells
from benchmark.harness.jobs import JobLocks, Rounds, SecondTries
from benchmark.harness.learned import LearnedMask, why_refused
from benchmark.harness.masks import FREE, MaskMaker, nothing_given
from benchmark.harness.record import (
    RecordContext,
    analysed_record,
    curves_of,
    failed_record,
    finished_record,
    learned_record,
    mask_record,
)
from benchmark.harness.settings import Experiment, Prepared, Settings
from benchmark.harness.start import (
    State,
    Weights,
    hook_of,
    is_learning,
    learned_like,
    masked_like,
    rewind_steps,
    told_of,
    untrained,
    weights_missing,
)
from benchmark.harness.trainer import Trainer
from benchmark.harness.transferred import SourceNetworks
from benchmark.planning.cost import Throughput, replicas_in, too_many_in
from benchmark.planning.plan import Job, expected_seconds
from benchmark.plugins.registry import PluginSource, locate
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell, is_chain, learning_steps, title, train_steps
from benchmark.pruning.interface import Masks
from benchmark.pruning.masks import full_masks
from benchmark.pruning.schedule import ScoreWatch
from benchmark.records.schema import Record
from benchmark.records.store import WAIT_SECONDS, Store
from benchmark.records.submissions import refuse_other_source
from benchmark.training.checkpoint import save_weights
from benchmark.training.device import cpu_settings
from benchmark.training.replicas import Outcome, Replica
from benchmark.utils.errors import BadPruner, NeedFailed, OutOfTime

__all__ = ["Harness", "Prepared", "Settings"]


class Harness:
    """Runs cells of one protocol into one results folder.

    `throughput`, `learning`: what is known of updates of weights, and of scores that masks are learned by. `dataset`:
    other data than the protocol's, for dry runs.
    """

    def __init__(
        self,
        protocol: Protocol,
        store: Store,
        settings: Settings,
        throughput: Throughput | None = None,
        dataset: Dataset | None = None,
        learning: Throughput | None = None,
    ) -> None:
        self.protocol, self.store, self.settings = protocol, store, settings
        self._throughput, self._learning = throughput or Throughput(), learning or Throughput()
        self._dataset, self._inner = dataset, partial(Harness, dataset=dataset)
        self._mask_seconds: dict[str, float] = {}  # by method, of its last mask
        self._watch = ScoreWatch(protocol.pruning)
        self._located: dict[str, PluginSource] = {}
        self._tried: set[Cell] = set()
        self._not_learned: dict[Cell, str] = {}  # why no mask was learned
        self.locks = JobLocks(store, protocol)
        self.tries = SecondTries(store, protocol, settings.second_tries)
        self._hook_source = cache(partial(locate, plugins=settings.plugins, kind="hook"))
        transfers = any(spec.masks_from for spec in protocol.pruning_methods.values())
        self.sources = SourceNetworks(protocol, store, settings, self._inner, self._progress) if transfers else None
        data, given = lambda: self.dataset, self.sources.given if self.sources else nothing_given
        self.masks = MaskMaker(protocol, store, data, self.located, settings.confinement, self._hook_source, given)
        self._trainer = Trainer(protocol, store, settings, data, self.masks, self._progress)

    @cached_property
    def analyses(self) -> AnalysisCells:
        """What measures the cells of a protocol's analyses; most protocols have none."""
        data, inner = lambda: self.dataset, self._inner
        return AnalysisCells(self.protocol, self.store, self.settings, data, inner, self._progress)

    @cached_property
    def dataset(self) -> Dataset:
        """The protocol's data, loaded once."""
        return self._dataset or prepared_data(self.protocol, self.settings.data_root)

    def run(self, job: Job) -> bool:
        """Run a job's unfinished cells; False if another process has the job or something it needs. See `run_jobs`."""
        return not self.run_jobs([job])

    def run_jobs(
        self,
        jobs: Sequence[Job],
        width: int = 1,
        backfill: Sequence[Job] = (),
        backfill_width: int = 1,
        most: int = 0,
    ) -> list[Job]:
        """Work off jobs, up to `width` side by side; those to come back to, since others hold what they need.

        `most`: up to how many if it turns out on the way that another width is faster; 0 for `width` throughout.
        `backfill`: jobs that fill a round up to `backfill_width` networks, and need not be ended. A cell whose pruner
        breaks its contract, or that needs a failed network, becomes a failed record, and so do the levels of its chain
        behind it. Raises OutOfTime when the budget ends; what was prepared by then is trained and recorded.
        """
        if any(self._is_confined(job.method) for job in jobs):
            from benchmark.plugins.sandbox.template import template

            template()  # starts while the networks train that are to be pruned
        with cpu_settings():
            return Rounds(self, jobs, width, backfill, backfill_width, most).run()

    def _is_confined(self, method: str) -> bool:
        if method == DENSE or method in self.protocol.analyses:
            return False
        return self.settings.confinement.confines(self.located(self.protocol.pruning_method(method).pruner))

    def experiment(self, job: str, cells: list[Cell], beside: Sequence[Prepared]) -> Experiment:
        """What a job, whose lock is held, has to train, network by network; None while others make what it needs.

        Whoever iterates trains what it is given and calls `finish` before it asks for more. `cells`: those of `job`,
        in the order of levels; taken from the list one by one. `beside`: what is trained in the same round: all of it
        has to fit the time. Raises OutOfTime, and Unavailable for a cell that is left to another worker.
        """
        blocked: str | None = None
        while cells:
            cell = cells.pop(0)
            if self.settled(cell):
                continue
            try:
                if blocked:
                    raise NeedFailed(f"level {cell.level}", blocked, "It is tried again with --retry-failed")
                self.tries.refuse_again(cell)
                if cell.method in self.protocol.analyses:
                    self._record_analysis(cell)
                    continue
                while self.sources and not self.sources.ready(cell):
                    yield None
                with ExitStack() as locks:
                    yield from self._networks_before(cell, {job}, beside, locks)
                    yield from self._learning_before(cell, job, beside)
                    yield from self._counts_before(cell, beside)
                    if not self.protocol.trains:
                        self._record_mask(cell)
                        continue
                    prepared = self._prepare(cell, beside)
                yield prepared
            except (BadPruner, NeedFailed) as error:
                self._record_failure(cell, str(error), final=isinstance(error, NeedFailed))
                if is_chain(self.protocol, cell.method):
                    blocked = blocked or f"level {cell.level} failed"

    def _networks_before(self, cell: Cell, held: set[str], beside: Sequence[Prepared], locks: ExitStack) -> Experiment:
        """What has to be trained before a cell, as in `experiment`: the dense network, earlier levels, if not on disk.

        `held`: the jobs whose locks are held. A control whose mask is still to be made waits for the lock of its
        parent's chain; `locks` then keeps it.
        """
        levels = self.masks.levels_on_disk(cell)
        if self.masks.of_chain(cell) and levels < cell.level:
            chain = Job(self.protocol, (masked_like(self.protocol, cell),))
            if chain.name not in held:
                while not locks.enter_context(self.locks.hold(chain)):
                    yield None
                held, levels = {*held, chain.name}, self.masks.levels_on_disk(cell)
        for weights in weights_missing(self.protocol, cell, self.masks.on_disk, levels):
            needed = Job(self.protocol, (weights.network,))
            with ExitStack() as lock:
                while needed.name not in held and not lock.enter_context(self.locks.hold(needed)):
                    yield None
                if not self.masks.on_disk(weights):  # else another process made it meanwhile
                    self._refuse_failed(weights.network)
                    self.tries.refuse_again(weights.network)
                    yield self._prepare(weights.network, beside)
            if not self.masks.on_disk(weights):
                self._refuse_failed(weights.network)
                self.masks.trained(weights)

    def _learning_before(self, cell: Cell, held: str, beside: Sequence[Prepared]) -> Experiment:
        """The learning of a cell's mask, as in `experiment`, if the mask is not on disk. `held`: the job whose lock
        is held."""
        like = learned_like(self.protocol, cell)
        if like is None or is_learning(self.protocol, cell):
            return
        needed = Job(self.protocol, (like,))
        with ExitStack() as lock:
            while needed.name != held and not lock.enter_context(self.locks.hold(needed)):
                yield None
            if not self.masks.is_learned(like):
                self._refuse_failed(like)
                yield self._prepare_learning(like, beside)
                if like in self._not_learned:
                    raise NeedFailed(title(like), f"learned no mask: {self._not_learned[like]}", "Correct its learner")

    def _counts_before(self, cell: Cell, beside: Sequence[Prepared]) -> Experiment:
        """The record whose hook's counts the cell's hook is given, as in `experiment`, if there is none."""
        parent = told_of(self.protocol, cell)
        if parent is None or self.settled(parent):
            return
        with ExitStack() as lock:
            while not lock.enter_context(self.locks.hold(Job(self.protocol, (parent,)))):
                yield None
            if not self.settled(parent):
                yield self._prepare(parent, beside)

    def ensure_networks(self, cell: Cell) -> None:
        """Train now what a cell's mask and start follow from and is not on disk, or wait for who does.

        Raises NeedFailed if that fails.
        """
        with ExitStack() as locks:
            self._train_before(cell, "", locks)

    def _train_before(self, cell: Cell, held: str, locks: ExitStack) -> None:
        """As `ensure_networks`. `held`: the job whose lock is held, if any; `locks` keeps that of the cell's chain."""
        networks = self._networks_before(cell, {held} if held else set(), (), locks)
        for prepared in chain(networks, self._learning_before(cell, held, ()), self._counts_before(cell, ())):
            if prepared is None:
                time.sleep(WAIT_SECONDS)
            else:
                self.finish(prepared, self.train([prepared])[0])

    def final_weights(self, cell: Cell) -> State:
        """A cell's trained network, every parameter and buffer: from the work folder, or trained now with all that it
        follows from. Kept there only if `Settings.keep` says so. Raises NeedFailed if it cannot be had, OutOfTime.
        """
        while not self.obtain(cell):
            time.sleep(WAIT_SECONDS)
        return self.masks.trained(Weights(cell))

    def obtain(self, cell: Cell, network: bool = True) -> bool:
        """Have a cell's trained network on disk, or its mask alone, made now if need be; False while others make it.

        Raises as `final_weights`.
        """
        wanted, needed = Weights(cell), Job(self.protocol, (cell,))
        mask_is_there = cell.method == DENSE or 0 < cell.level <= self.masks.levels_on_disk(cell)
        if self.masks.on_disk(wanted) if network else mask_is_there:
            return True
        with ExitStack() as locks:
            if not locks.enter_context(self.locks.hold(needed)):
                return False
            self._refuse_failed(cell)
            self._train_before(cell, needed.name, locks)
            if not network:
                self.masks.make(cell)
                return True
            prepared = self._prepare(cell, ())
            self.finish(prepared, self.train([prepared])[0])
        if not self.masks.on_disk(wanted):
            self._refuse_failed(cell)
        return True

    def made_mask(self, cell: Cell) -> Masks:
        """A cell's mask, made now if need be, with the networks before it. Raises as `final_weights`, or BadPruner."""
        with ExitStack() as locks:
            self._train_before(cell, "", locks)
            return self.masks.make(cell)[0]

    def settled(self, cell: Cell) -> bool:
        """Whether nothing is left to do for a cell: finished, or failed and not to be tried again."""
        return cell in self._tried or self.store.settled(self.protocol, cell, self.settings.retry_failed)

    def located(self, pruner: str) -> PluginSource:
        """The pruner's source, looked up once, and not run here."""
        if pruner not in self._located:
            found = locate(pruner, self.settings.plugins)
            if not found.of_this_repository:  # only the code of others is submitted
                refuse_other_source(self.store, self.protocol, pruner, found.digest)
            self._located[pruner] = found
        return self._located[pruner]

    def _refuse_failed(self, cell: Cell) -> None:
        record = self.store.read(self.protocol, cell)
        if record is not None and record.status == "failed" and self.settled(cell):
            raise NeedFailed(
                f"{cell.method} {cell.name}", f"is needed and failed: {record.reason}", "Retry with --retry-failed"
            )

    def _prepare(self, cell: Cell, beside: Sequence[Prepared]) -> Prepared:
        """A cell's mask and start. Raises OutOfTime, BadPruner or NeedFailed."""
        if is_learning(self.protocol, cell):
            return self._prepare_learning(cell, beside)
        steps = train_steps(self.protocol, cell)
        round_seconds = partial(self._round_seconds, beside, cell, steps)
        self._refuse_if_late(round_seconds)  # before a mask is made for nothing
        self.masks.hooks(cell)  # new ones for each training; a mistake in them is found here, before it
        masks, prune_cost = self.masks.make(cell)
        start, first_step = self.masks.start(cell)
        self._refuse_if_late(round_seconds)
        snapshots = rewind_steps(self.protocol) if cell.method == DENSE else ()
        split = self.masks.split(cell.seed)
        replica = Replica(cell.seed, start, masks, split, first_step + steps, first_step, snapshots)
        return Prepared(cell, masks, prune_cost, replica, steps, self.protocol.recipe)

    def _prepare_learning(self, cell: Cell, beside: Sequence[Prepared]) -> Prepared:
        """The learning of a cell's mask, from its initial weights. Raises OutOfTime, BadInput or BadPruner."""
        steps = learning_steps(self.protocol, cell)
        self._refuse_if_late(partial(self._round_seconds, beside, cell, steps, learns=True))
        if self.masks.confined(cell, learns=True) is None:
            self.masks.learner(cell)  # a new one for each training; a mistake in it is found here, before it
        learning = self.protocol.pruning_method(cell.method).learning
        assert learning is not None
        everything = full_masks(self.protocol.pruning.prunable)
        replica = Replica(cell.seed, self.masks.start(cell)[0], everything, self.masks.split(cell.seed), steps)
        return Prepared(cell, everything, FREE, replica, steps, learning.of(self.protocol), learns=True)

    def _refuse_if_late(self, seconds: Callable[[], float]) -> None:
        """Raise OutOfTime if what takes so long may not start any more; not worked out where nothing ends the run."""
        if self.settings.may_start is not None and not self.settings.may_start(seconds()):
            raise OutOfTime

    def _round_seconds(self, beside: Sequence[Prepared], cell: Cell, steps: int, learns: bool = False) -> float:
        """Of so many updates of a cell's weights, or of its scores, in one round with `beside`."""
        dense = partial(self._throughput.dense_updates, self.protocol)
        together = [(each.cell, each.steps, each.learns) for each in beside] + [(cell, steps, learns)]
        weights = [dense(cell, steps) for cell, steps, learns in together if not learns]
        scores = [steps for _, steps, learns in together if learns]
        return self._throughput.seconds([n for n in weights if n]) + self._learning.seconds([n for n in scores if n])

    def _recorded_seconds(self, cell: Cell) -> float:
        """Of a cell that trains nothing, by the records."""
        return expected_seconds(self.protocol, self.store.records(self.protocol))([cell])

    @property
    def width(self) -> int | None:
        """How many to train side by side by now; None where that is not being found out."""
        return self._throughput.widths.width if self._throughput.widths is not None else None

    def train(self, ready: Sequence[Prepared]) -> list[Outcome]:
        """Train prepared cells; see `Trainer`."""
        return self._trainer.train(ready)

    def _progress(self, cell: Cell, done: int, total: int, latest: Mapping[str, float]) -> None:
        if self.settings.placement is None:  # else the others that are trained with it go on
            self.locks.refuse_lost(cell)
        self.settings.on_progress(cell, done, total, latest)

    def finish(self, ready: Prepared, outcome: Outcome) -> None:
        """Keep what was trained if a later cell needs it, and write the record if there is none."""
        cell = ready.cell
        if ready.steps and (self.settings.may_start is not None or self.width is not None):
            self._note_speed(ready, outcome)
        if ready.learns:
            self._finish_learning(ready, outcome)
            return
        self._keep_weights(cell, outcome)
        if not self.settled(cell):
            learned, given = self.masks.learned(cell), self.masks.given(cell)
            source = None if given is None else given.source
            record = finished_record(self._context(cell), ready.masks, ready.prune_cost, outcome, learned, source)
            self._write_at_last(cell, record, None if outcome.failure else curves_of(outcome.history))
        self._weights_path(cell, "checkpoint").unlink(missing_ok=True)
        before = Cell(cell.method, cell.level - 1, cell.seed)
        if is_chain(self.protocol, cell.method) and cell.level > 1 and not self.settings.keep(before):
            self._weights_path(before, "final").unlink(missing_ok=True)

    def _note_speed(self, ready: Prepared, outcome: Outcome) -> None:
        """For the next round's length, and for how many are trained side by side."""
        group = replicas_in(outcome.replica_group)
        throughput = self._learning if ready.learns else self._throughput
        updates = throughput.dense_updates(self.protocol, ready.cell, ready.steps)
        throughput.measured(group, group * outcome.seconds / updates, too_many_in(outcome.replica_group))

    def _finish_learning(self, ready: Prepared, outcome: Outcome) -> None:
        """Keep what was learned for the trainings that follow from it; write the record where none does. A weight that
        is not what it was, to the bit, is a failure.
        """
        cell, protocol = ready.cell, self.protocol
        if not outcome.failure:
            parameters = [name for name, _ in untrained(protocol).named_parameters()]
            outcome = replace(outcome, failure=why_refused(outcome, parameters, ready.replica.start))
        if outcome.failure:
            self._not_learned[cell] = outcome.failure
        else:
            self.masks.keep_learned(cell, LearnedMask.of(outcome))
        if is_learning(protocol, cell) and not self.settled(cell):
            record = learned_record(self._context(cell), ready.masks, outcome)
            self._write_at_last(cell, record, None if outcome.failure else curves_of(outcome.history))
        self._weights_path(cell, "checkpoint").unlink(missing_ok=True)

    def _keep_weights(self, cell: Cell, outcome: Outcome) -> None:
        needed = cell.method == DENSE or is_chain(self.protocol, cell.method) or self.settings.keep(cell)
        if outcome.failure or not needed:
            return
        kept: dict[str, State] = {"final": outcome.weights}
        kept |= {f"step-{step}": state for step, state in outcome.snapshots.items()}
        for what, state in kept.items():
            save_weights(self._weights_path(cell, what), state, self.store.work)

    def _weights_path(self, cell: Cell, what: str) -> Path:
        return self.store.weights_path(self.protocol, cell, what)

    def _record_mask(self, cell: Cell) -> None:
        """Make a cell's mask and write what it is, for a protocol that trains nothing."""
        # Levels cut from scores that are here already take next to no time; without them the scoring would be lost.
        took = 0.0 if self.masks.has_scores(cell) else self._mask_seconds.get(cell.method)
        self._refuse_if_late(lambda: self._recorded_seconds(cell) if took is None else took)
        self._watch.restart()
        masks, cost = self.masks.make(cell, self._watch)
        self._mask_seconds[cell.method] = cost.seconds
        self._write(cell, mask_record(self._context(cell), masks, cost, self._watch.facts), None)

    def _record_analysis(self, cell: Cell) -> None:
        """Measure an analysis and write what it found. Raises OutOfTime, NeedFailed or BadInput."""
        self._refuse_if_late(lambda: self._recorded_seconds(cell))
        found = self.analyses.measure(cell)
        record = analysed_record(self._context(cell), found)
        self._write_at_last(cell, record, None if record.reason else found.findings.packed())
        self.analyses.forget(cell)

    def _record_failure(self, cell: Cell, reason: str, final: bool) -> None:
        """Write down why a cell cannot be measured; if not `final`, at the second failure. Raises Unavailable then."""
        (self._write if final else self._write_at_last)(cell, failed_record(self._context(cell), reason), None)

    def _context(self, cell: Cell) -> RecordContext:
        prunes = cell.method != DENSE and cell.method not in self.protocol.analyses
        source = self.located(self.protocol.pruning_method(cell.method).pruner) if prunes else None
        acts = hook_of(self.protocol, cell) if prunes else None
        hook = None if acts is None else self._hook_source(acts.name)
        return RecordContext(self.protocol, cell, source, self.dataset.digest, self.settings.device, hook)

    def _write_at_last(self, cell: Cell, record: Record, curves: bytes | None) -> None:
        """Write a record, unless it is a first failure. Raises Unavailable then."""
        self._write(cell, self.tries.settled(cell, record), curves)

    def _write(self, cell: Cell, record: Record, curves: bytes | None) -> None:
        self.locks.refuse_lost(cell)
        self.store.write(self.protocol, cell, record, curves)
        self.tries.forget(cell)
        self._tried.add(cell)
        self.settings.on_record(cell, record)
