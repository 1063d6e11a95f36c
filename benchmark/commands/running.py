"""The verb that trains: run."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import click

from benchmark.commands.ordering import batches_for, planned_for
from benchmark.commands.planning import Outlook, show_plan
from benchmark.commands.plugins import Chosen, chosen, waiting_words
from benchmark.commands.runnable import affordable, require_device, with_data
from benchmark.commands.selecting import Selection, protocols_in
from benchmark.commands.trying import try_out
from benchmark.commands.working import Where
from benchmark.errors import EXIT_DEVIATION, EXIT_USAGE, BadInput
from benchmark.executors.devices import gpus
from benchmark.executors.order import Order
from benchmark.plan import only_recorded, plan
from benchmark.progress import Display
from benchmark.store import Store


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
    from benchmark.isolation.sandbox import describe

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
    from benchmark.recheck import compare, speed_from

    planned = speed_from(only_recorded(plan(selection, again), store), store)
    batches = batches_for(_order(selection, store, how, None), planned, store)
    count = sum(Outlook(planned, batches, how.where.workers, how.seconds_left).fits)
    if planned and count:
        click.echo(f"Measuring finished cells again into {again.root}, to compare: about {count} fit the time left.")
        _execute(selection, again, how, store)
    outcomes = [outcome for protocol in protocols_in(selection) if (outcome := compare(protocol, store, again)).cells]
    for outcome in outcomes:
        click.echo(outcome.sentence())
    if any(outcome.deviates for outcome in outcomes):
        raise click.exceptions.Exit(EXIT_DEVIATION)
