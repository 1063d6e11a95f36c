"""The verb that trains: run.

What `run --dry-steps` does.

What `run` and the workers it starts share: where work is done, and the worker itself.
"""

from __future__ import annotations

import json
import signal
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import click

from benchmark.cli.plan import Outlook, show_plan
from benchmark.cli.plugin_args import Chosen, chosen, waiting_words
from benchmark.cli.tables import Display
from benchmark.harness.executors.in_process import InProcess
from benchmark.harness.executors.local import Local
from benchmark.harness.executors.order import Executor
from benchmark.harness.executors.profile import Profile, load_profile
from benchmark.harness.executors.slurm import Slurm
from benchmark.planning.feasible import affordable, with_data
from benchmark.planning.plan import only_recorded, plan
from benchmark.planning.select import (
    Order,
    Selection,
    batches_for,
    patterns_of,
    planned_for,
    protocols_in,
    selection_of,
)
from benchmark.planning.shards import Shard
from benchmark.protocols import Protocol
from benchmark.protocols.cells import density_text
from benchmark.records.store import Store
from benchmark.records.submissions import with_submissions
from benchmark.utils import signals as stopping
from benchmark.utils.errors import EXIT_DEVIATION, EXIT_USAGE, BadInput
from benchmark.utils.hardware import gpus


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
    return f"{made} updates of {protocol.recipe.steps:,}" if protocol.trains else "no training"


@dataclass(frozen=True)
class Where:
    """Where and how `run` works, as its options say."""

    place: str
    workers: int
    shard: Shard | None
    profile: Profile | None
    wait: bool
    purpose: str | None

    @staticmethod
    def read(
        place: str, workers: int, shard: str | None, profile: Path | None, wait: bool, purpose: str | None
    ) -> Where:
        """From the words of the command line. Raises BadInput for what does not go together."""
        if profile and place != "slurm":
            raise BadInput("--profile", f"means nothing to --executor {place}", "Add --executor slurm")
        if place == "slurm" and profile is None:
            raise BadInput("--executor slurm", "has no profile", "Give --profile FILE, see docs/scaling.md")
        return Where(
            place,
            1 if place == "in-process" else workers,
            Shard.parse(shard) if shard else None,
            load_profile(profile) if profile else None,
            wait,
            purpose,
        )

    @property
    def waits(self) -> bool:
        """Whether the work is over when the executor returns."""
        return self.place != "slurm" or self.wait

    @property
    def hands(self) -> int:
        """Workers that share the work."""
        return self.profile.tasks * self.profile.workers if self.profile else self.workers

    def executor(self) -> Executor:
        """The executor of that name."""
        if self.place == "in-process":
            return InProcess()
        return Slurm(self.profile, self.wait) if self.profile else Local(self.workers)


def worker(  # noqa: PLR0913, PLR0917 - one for each option
    only: tuple[str, ...],
    results: Path,
    deadline: float | None,
    seconds: float | None,
    like: Path | None,
    plugins: tuple[Path, ...],
    retry_failed: bool,
    device: Literal["cpu", "cuda"],
    hands: int,
    **rest: str | None,
) -> None:
    """One worker process of `run`; prints one JSON object per line."""
    from benchmark.harness.executors.in_process import work_here
    from benchmark.utils.errors import LotterybenchError

    stopping.on_signals(signal.SIGTERM)  # from Slurm, or from `run`
    stopping.with_parent()
    store = Store(results)
    if seconds is not None:
        deadline = time.monotonic() + seconds
    shard = Shard.parse(rest["shard"]) if rest["shard"] else None
    given = Order(only, results, deadline, None, plugins, retry_failed, like, shard, rest["purpose"], device, hands)
    try:
        selection = selection_of(only, partial(with_submissions, store))
        work_here(given, planned_for(given, selection, store), store, _emit)
    except LotterybenchError as error:
        print(json.dumps({"event": "error", "text": str(error)}), flush=True)
        raise click.exceptions.Exit(error.exit_code) from error


def _emit(event: str, fields: dict[str, Any]) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


@dataclass(frozen=True)
class How:
    """What the options of `run` say about every worker."""

    where: Where
    deadline: float | None
    chosen: Chosen
    retry_failed: bool
    device: Literal["cpu", "cuda"] = "cpu"

    @property
    def seconds_left(self) -> float | None:
        """Until the deadline; None without one."""
        return None if self.deadline is None else self.deadline - time.monotonic()


def run(  # noqa: PLR0913, PLR0917 - one for each option
    only: tuple[str, ...],
    results: Path,
    budget: float | None,
    plugins: tuple[Path, ...],
    settings: tuple[str, ...],
    retry_failed: bool,
    recheck: Path | None,
    device: Literal["cpu", "cuda"],
    dry_steps: int | None,
    where: Where,
) -> None:
    """Measure what is missing, most wanted first; whatever was finished is kept."""
    from benchmark.plugins.sandbox.confinement import describe

    if device != "cpu":
        from benchmark.training.device import require_device

        require_device(device)
    store = Store(results)
    picked = chosen(only, store, plugins, settings)
    if device == "cuda":
        where = replace(where, workers=max(1, min(where.workers, len(gpus()))))
    how = How(where, time.monotonic() + budget if budget else None, picked, retry_failed, device)
    selection = _with_their_plugins(picked)
    if dry_steps is not None:
        try_out(selection, only, dry_steps, picked)
        return
    for protocol in protocols_in(selection):
        store.refuse_other_document(protocol)
    selection, left_out = affordable(selection, store, how.seconds_left, retry_failed, device)
    click.echo(left_out, nl=bool(left_out))
    selection = with_data(selection)
    outlook = _outlook(selection, store, how, budget)
    if outlook.planned:
        show_plan(selection, outlook, store)
        click.echo(describe().sentence())
        if any(outlook.fits):
            _execute(selection, store, how, None)
        else:
            click.echo("Not one training fits the budget; give it more time.")
    else:
        click.echo("Nothing is missing: every selected cell has a record.")
    if recheck is not None and where.place != "slurm" and (how.seconds_left is None or how.seconds_left > 0):
        _recheck([pair for pair in selection if pair in picked.measurable], store, Store(recheck), how)
    if where.waits:
        _conclude(selection, store)


def _outlook(selection: Selection, store: Store, how: How, budget: float | None) -> Outlook:
    order = _order(selection, store, how, None)
    planned = planned_for(order, selection, store)
    return Outlook(planned, batches_for(order, planned, store), how.where.hands, budget, how.device)


def _with_their_plugins(picked: Chosen) -> Selection:
    """The selection; says which methods of plugins it leaves out. Raises BadInput if these are all."""
    for pair in picked.waiting:
        if not picked.selection:
            raise BadInput(pair[1], "was added by a plugin that was not given", waiting_words(pair))
        click.echo(f"Left out: {waiting_words(pair)}")
    return picked.selection


def _conclude(selection: Selection, store: Store) -> None:
    """Say how many selected cells have failed; exit code 2 if none is finished."""
    chosen = {(protocol.key, method) for protocol, method in selection}
    records = [r for protocol in protocols_in(selection) for r in store.records(protocol)]
    states = [r.status for r in records if (f"{r.protocol.id}@{r.protocol.version}", r.method.name) in chosen]
    if failed := states.count("failed"):
        click.echo(f"{failed} failed; each record says why. To try them again: --retry-failed")
    if "finished" not in states:
        click.echo("Nothing was measured.")
        raise click.exceptions.Exit(EXIT_USAGE)


def _order(selection: Selection, store: Store, how: How, like: Store | None) -> Order:
    """What every worker is told."""
    return Order(
        patterns=tuple(f"{protocol.argument}:{method}" for protocol, method in selection),
        results=store.root,
        deadline=None if how.where.place == "slurm" else how.deadline,
        seconds=how.seconds_left if how.where.place == "slurm" else None,
        plugins=tuple(how.chosen.files.values()),
        retry_failed=how.retry_failed,
        like=like.root if like else None,
        shard=how.where.shard,
        wanted=how.where.purpose,
        device=how.device,
        hands=how.where.hands,
    )


def _execute(selection: Selection, store: Store, how: How, like: Store | None) -> None:
    """Run the missing cells of a selection; with `like`, those that are finished in that folder."""
    how.chosen.write_submissions(store)
    order = _order(selection, store, how, like)
    planned = planned_for(order, selection, store)
    cells = sum(len(item.job.cells) for item in planned)
    with Display(min(how.where.workers, len(planned)), cells, how.deadline) as display:
        how.where.executor().execute(order, planned, display.listen)
    if how.where.waits:
        click.echo(f"Recorded {display.finished} cells, {display.failed} failed; {cells - display.recorded} left.")


def _recheck(selection: Selection, store: Store, again: Store, how: How) -> None:
    from benchmark.planning.plan import speed_from
    from benchmark.sharing.remeasure import compare_means

    planned = speed_from(only_recorded(plan(selection, again), store), store)
    batches = batches_for(_order(selection, store, how, None), planned, store)
    count = sum(Outlook(planned, batches, how.where.workers, how.seconds_left).fits)
    if planned and count:
        click.echo(f"Measuring finished cells again into {again.root}, to compare: about {count} fit the time left.")
        _execute(selection, again, how, store)
    compared = [compare_means(protocol, store, again) for protocol in protocols_in(selection)]
    outcomes = [outcome for outcome in compared if outcome.cells]
    for outcome in outcomes:
        click.echo(outcome.sentence())
    if any(outcome.deviates for outcome in outcomes):
        raise click.exceptions.Exit(EXIT_DEVIATION)
