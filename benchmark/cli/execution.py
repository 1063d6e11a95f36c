"""What `run` does with a selection: how it is executed, planned once, measured again for comparison, or only tried."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from benchmark.cli.options import Device, ExecutorName
from benchmark.cli.outcome import Served, conclusion
from benchmark.cli.outlook import Outlook, nothing_words, show_purchases
from benchmark.cli.selection import Chosen, waiting_words
from benchmark.cli.terminal import Display, counted, step_progress, unit_of
from benchmark.datasets.source import data_root, source_of
from benchmark.harness.executors.executor import Executor, InProcess, WorkOrder, title
from benchmark.harness.executors.local import Local
from benchmark.harness.executors.profile import Profile, load_profile
from benchmark.harness.executors.slurm import Slurm
from benchmark.planning.narrowed import Narrowed
from benchmark.planning.plan import PlannedJob, Shard, speed_from
from benchmark.planning.priority import Wanted
from benchmark.planning.select import (
    Selection,
    batches_for,
    patterns_of,
    planned_for,
    protocols_in,
    verdicts_for,
    with_data,
)
from benchmark.protocols import Protocol
from benchmark.protocols.cells import density_text
from benchmark.records.store import Store
from benchmark.utils.errors import EXIT_DEVIATION, EXIT_USAGE, BadInput, EnvironmentProblem

WITHOUT_DATA = "What needs no download: lotterybench run 'mnist1d/*' --budget 5m"


@dataclass(frozen=True)
class Execution:
    """Where and how `run` works, as its options say.

    `workers`: processes on this machine. `profile`: what to ask Slurm for. `wait`: for Slurm's tasks to end. `wanted`:
    the claim, paper or method whose cells are run; None for all. `buys`: only what should decide most for the time.
    `narrowed`: only these seeds and levels.
    """

    executor: ExecutorName
    workers: int
    shard: Shard | None
    profile: Profile | None
    wait: bool
    wanted: str | None
    buys: bool = False
    narrowed: Narrowed = field(default_factory=Narrowed)

    @staticmethod
    def parse(
        executor: ExecutorName,
        workers: int,
        shard: str | None,
        profile: Path | None,
        wait: bool,
        wanted: str | None,
        *,
        buys: bool = False,
        narrowed: Narrowed,
    ) -> Execution:
        """From the values of the options. Raises BadInput for those that do not go together or cannot be read."""
        if profile and executor != "slurm":
            raise BadInput("--profile", f"means nothing to --executor {executor}", "Add --executor slurm")
        if wait and executor != "slurm":
            cause = f"--executor {executor} waits in any case"
            raise BadInput("--wait", cause, "Leave it out, or add --executor slurm")
        if executor == "slurm" and profile is None:
            raise BadInput("--executor slurm", "has no profile", "Give --profile FILE, see docs/scaling.md")
        return Execution(
            executor,
            1 if executor == "in-process" else workers,
            Shard.parse(shard) if shard else None,
            load_profile(profile) if profile else None,
            wait,
            wanted,
            buys,
            narrowed,
        )

    @property
    def waits(self) -> bool:
        """Whether the work is over when the executor returns."""
        return self.executor != "slurm" or self.wait

    @property
    def total_workers(self) -> int:
        """Workers that share the work, on all machines."""
        return self.profile.tasks * self.profile.workers if self.profile else self.workers

    def make_executor(self) -> Executor:
        """The executor of that name."""
        if self.executor == "in-process":
            return InProcess()
        return Slurm(self.profile, self.wait) if self.profile else Local(self.workers)


@dataclass(frozen=True)
class RunOptions:
    """What the options of `run` say about every worker.

    `deadline`: a `time.monotonic()` value, None for no limit; `budget`: the seconds that were left when it was set.
    `bought`: the cells that the budget is for, in their order; None for all that are missing.
    """

    execution: Execution
    deadline: float | None
    budget: float | None
    chosen: Chosen
    retry_failed: bool
    device: Device = "cpu"
    bought: Wanted | None = None

    @property
    def seconds_left(self) -> float | None:
        """Until the deadline; None without one."""
        return None if self.deadline is None else self.deadline - time.monotonic()

    def order(self, planned: Sequence[PlannedJob], store: Store) -> WorkOrder:
        """What every worker is given."""
        slurm = self.execution.executor == "slurm"
        return WorkOrder(
            tuple(planned),
            store.root,
            deadline=None if slurm else self.deadline,
            seconds=self.seconds_left if slurm else self.budget,
            plugins=tuple(self.chosen.files.values()),
            retry_failed=self.retry_failed,
            device=self.device,
            workers=self.execution.total_workers,
        )

    def plan(self, selection: Selection, store: Store, like: Store | None = None) -> list[PlannedJob]:
        """What is missing of a selection, most wanted first; with `like`, of the cells that are finished there."""
        return planned_for(
            selection,
            store,
            retry_failed=self.retry_failed,
            wanted_for=self.execution.wanted,
            bought=self.bought,
            device=self.device,
            like=like,
            shard=self.execution.shard,
            narrowed=self.execution.narrowed,
        )

    def buying(self, selection: Selection, store: Store) -> RunOptions:
        """The same for the cells that should decide most claims in the time left; says which."""
        left = self.seconds_left
        with step_progress() as say:
            found = verdicts_for(selection, store, left and left * self.execution.total_workers, self.device, say)
        show_purchases(found, unit_of(self.device))
        return replace(self, bought=found.wanted)

    def outlook(self, planned: Sequence[PlannedJob], store: Store, budget: float | None) -> Outlook:
        """A plan with how it is worked off, and how much of it fits the budget in seconds."""
        workers = self.execution.total_workers
        batches = batches_for(planned, store, self.device, workers)
        return Outlook(planned, batches, workers, budget, self.device, self._nothing)

    def say_nothing_planned(self, selection: Selection) -> None:
        """Say why there is nothing to do."""
        if self.bought is not None:
            click.echo("So nothing is measured. More time, or data that is not here, may buy some.")
            return
        if self.execution.wanted or self.execution.shard:
            click.echo("Nothing is missing of what was asked for.")
        else:
            cells = self.execution.narrowed.count(selection)
            click.echo(f"Nothing is missing: every selected cell has a record ({cells:,}).")
        click.echo("What they say: lotterybench score, lotterybench report")

    @property
    def _nothing(self) -> str:
        e = self.execution
        return nothing_words(self.bought is not None, bool(e.wanted or e.shard) or e.narrowed != Narrowed())


def fetched(selection: Selection, needed: Collection[str]) -> Selection:
    """A selection without the protocols that need data, by key, which cannot be had; says what is skipped, if anything.

    What needs no data now, because nothing of it is planned, stays, and none is fetched for it. Raises
    EnvironmentProblem, exit code 3, if nothing of what is needed can be had.
    """
    asked = [pair for pair in selection if pair[0].key in needed]
    usable, missing = with_data(asked)
    if not missing:
        return selection
    names = " and ".join(missing)
    skipped = len(protocols_in(asked)) - len(protocols_in(usable))
    cause = missing[next(iter(missing))].cause
    folder = f"Where the data lies, run LOTTERYBENCH_DATA=FOLDER lotterybench run, FOLDER with {expected(missing)}"
    if not usable:
        problem = f"{cause}; nothing else was selected"
        raise EnvironmentProblem(f"data set {names} under {data_root()}", problem, f"{folder}. {WITHOUT_DATA}")
    click.echo(f"Skipped {counted(skipped, 'protocol')}: data set {names} under {data_root()}: {cause}. {folder}.")
    return [pair for pair in selection if pair[0].key not in needed or pair[0].data.name not in missing]


def expected(names: Iterable[str]) -> str:
    """What a data root has to hold for these data sets."""
    whole = dict.fromkeys(source_of(name).part_of or name for name in names)
    return ", ".join(source_of(name).expected for name in whole)


def execute(planned: Sequence[PlannedJob], store: Store, options: RunOptions) -> frozenset[str]:
    """Have these jobs run into `store`, and show how it goes; titles of the cells recorded, as far as that is known."""
    options.chosen.write_submissions(store)
    names = [title(item.job.protocol, cell) for item in planned for cell in item.job.cells]
    workers = min(options.execution.workers, len(planned))
    with Display(workers, names, options.deadline, Served(planned)) as display:
        options.execution.make_executor().execute(options.order(planned, store), display.listen)
    if options.execution.waits:
        failed = f" ({display.failed} failed)" if display.failed else ""
        click.echo(f"{counted(display.recorded, 'cell')} recorded{failed}, {display.left:,} left.")
    return display.titles


def recheck(selection: Selection, store: Store, again: Store, options: RunOptions) -> None:
    """Measure finished cells of `store` again into `again`, in the time left, and compare. Exit code 1 if any deviates.

    The estimate of what fits takes the speed from the records of `store`.
    """
    from benchmark.sharing.remeasure import compare_means

    options = replace(options, budget=options.seconds_left)
    planned = speed_from(options.plan(selection, again, like=store), store)
    batches = batches_for(planned, store, options.device, options.execution.total_workers)
    count = sum(Outlook(planned, batches, options.execution.workers, options.seconds_left).fits)
    if planned and count:
        click.echo(f"Measuring finished cells again into {again.root}, to compare: about {count} fit the time left.")
        execute(planned, again, options)
    compared = [compare_means(protocol, store, again) for protocol in protocols_in(selection)]
    outcomes = [outcome for outcome in compared if outcome.cells]
    for outcome in outcomes:
        click.echo(outcome.sentence())
    if any(outcome.deviates for outcome in outcomes):
        raise click.exceptions.Exit(EXIT_DEVIATION)


def with_their_plugins(picked: Chosen) -> Selection:
    """The selection; says which methods of plugins it leaves out. Raises BadInput if these are all."""
    for pair in picked.waiting:
        if not picked.selection:
            raise BadInput(pair[1], "was added by a plugin that was not given", waiting_words(pair))
        click.echo(f"Left out: {waiting_words(pair)}")
    return picked.selection


def conclude(selection: Selection, store: Store, recorded: Collection[str]) -> None:
    """Say what the cells recorded now mean for claims, and how many selected ones failed; exit code 2 if none is
    finished."""
    if recorded:
        click.echo(conclusion(protocols_in(selection), store, recorded))
    chosen = {(protocol.key, method) for protocol, method in selection}
    records = [r for protocol in protocols_in(selection) for r in store.records(protocol)]
    states = [r.status for r in records if (f"{r.protocol.id}@{r.protocol.version}", r.method.name) in chosen]
    if failed := states.count("failed"):
        click.echo(f"{failed} failed; each record says why. To try them again: --retry-failed")
    if "finished" not in states:
        click.echo("Nothing was measured.")
        raise click.exceptions.Exit(EXIT_USAGE)


def try_out(selection: Selection, only: tuple[str, ...], steps: int, picked: Chosen) -> None:
    """Run the first cell of every protocol that was selected, and of every method that a pattern names."""
    from benchmark.harness.dry_run import dry_run

    named = any(":" in pattern for pattern in patterns_of(only)) or bool(picked.files)
    first = {protocol.key: method for protocol, method in reversed(selection)}
    for protocol, method in selection:
        if not named and method != first[protocol.key]:
            continue
        done = dry_run(protocol, method, steps, picked.files)
        click.echo(
            f"{protocol.id}:{method} at {density_text(protocol, done.cell.level)}, seed {done.cell.seed}: "
            f"{_updates(protocol, done.updates)}, {done.mask}, on {done.data}"
        )
    click.echo("Dry: a few updates on little data. Nothing was recorded.")


def _updates(protocol: Protocol, made: int) -> str:
    if protocol.measures == "analysis":
        return f"{made} updates by the analysis"
    return f"{made} updates of {protocol.recipe.steps:,}" if protocol.trains else "no training"
