"""Verbs that train: run, and the worker processes it starts."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import click

from benchmark.commands.options import (
    Duration,
    Selection,
    device_option,
    only_argument,
    protocols_in,
    results_option,
    retry_option,
    selection_of,
    workers_option,
)
from benchmark.commands.plugins import (
    Chosen,
    chosen,
    plugin_files,
    plugin_option,
    set_option,
    waiting_words,
)
from benchmark.commands.reading import show_plan
from benchmark.commands.runnable import affordable, require_device, with_data
from benchmark.commands.trying import try_out
from benchmark.errors import EXIT_DEVIATION, EXIT_USAGE, BadInput
from benchmark.plan import PlannedJob, fitting, only_recorded, plan
from benchmark.power import plan_order
from benchmark.progress import Display
from benchmark.protocol import Protocol
from benchmark.store import Store
from benchmark.submissions import with_submissions
from benchmark.units import density_text


@dataclass(frozen=True)
class How:
    """What the options of `run` say about every worker."""

    workers: int
    deadline: float | None
    chosen: Chosen
    retry_failed: bool
    device: Literal["cpu", "cuda"] = "cpu"

    @property
    def seconds_left(self) -> float | None:
        """Until the deadline; None without one."""
        return None if self.deadline is None else self.deadline - time.time()


@click.command()
@only_argument
@results_option
@click.option("--budget", type=Duration(), help="Stop in time, at a safe point: 90s, 25m, 2h. Default: no limit.")
@workers_option
@plugin_option
@set_option
@retry_option
@click.option(
    "--recheck",
    type=click.Path(path_type=Path, file_okay=False),
    help="With time left, measure finished cells again into this folder and compare.",
)
@device_option
@click.option("--dry-steps", type=click.IntRange(1), help="Only try: a few updates on little data, nothing recorded.")
def run(  # noqa: PLR0913, PLR0917 - one for each option
    only: tuple[str, ...],
    results: Path,
    budget: float | None,
    workers: int,
    plugins: tuple[Path, ...],
    settings: tuple[str, ...],
    retry_failed: bool,
    recheck: Path | None,
    device: Literal["cpu", "cuda"],
    dry_steps: int | None,
) -> None:
    """Measure what is missing, most wanted first; whatever was finished is kept.

    \b
    Examples:
      lotterybench run --budget 25m
      lotterybench run 'lth/*' --budget 2h --workers 2
      lotterybench run mnist1d/mlp:imp --results /tmp/mine
      lotterybench run --budget 10m --recheck recheck
      lotterybench run mnist1d/mlp --plugin my_method.py --set alpha=0.5
      lotterybench run 'grasp/*' --dry-steps 2
    """
    from benchmark.isolation.sandbox import describe

    require_device(device)
    store = Store(results)
    picked = chosen(only, store, plugins, settings)
    how = How(
        1 if device == "cuda" else workers, time.time() + budget if budget else None, picked, retry_failed, device
    )
    selection = _with_their_plugins(picked)
    if dry_steps is not None:
        try_out(selection, only, dry_steps, picked)
        return
    for protocol in protocols_in(selection):
        store.refuse_other_document(protocol)
    selection = with_data(affordable(selection, store, how.seconds_left, retry_failed))
    planned = _planned(selection, store, retry_failed, None)
    if planned:
        show_plan(selection, planned, store, budget, workers)
        click.echo(describe().sentence())
        if any(fitting(planned, workers, budget)):
            _execute(selection, store, how, None)
        else:
            click.echo("Not one training fits the budget; give it more time.")
    else:
        click.echo("Nothing is missing: every selected cell has a record.")
    if recheck is not None and (how.seconds_left is None or how.seconds_left > 0):
        _recheck([pair for pair in selection if pair in picked.measurable], store, Store(recheck), how)
    _conclude(selection, store)


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


def _execute(selection: Selection, store: Store, how: How, like: Store | None) -> None:
    """Run the missing cells of a selection; with `like`, those that are finished in that folder."""
    from benchmark.executors.local import run_workers

    how.chosen.write_submissions(store)
    planned = _planned(selection, store, how.retry_failed, like)
    cells, workers = sum(len(item.job.cells) for item in planned), min(how.workers, len(planned))
    arguments = [f"{protocol.argument}:{method}" for protocol, method in selection]
    arguments += ["--results", str(store.root)]
    arguments += ["--deadline", str(how.deadline)] if how.deadline else []
    arguments += [part for path in how.chosen.files.values() for part in ("--plugin", str(path))]
    arguments += ["--retry-failed"] if how.retry_failed else []
    arguments += ["--device", how.device] if how.device != "cpu" else []
    arguments += ["--like", str(like.root)] if like else []
    with Display(workers, cells, how.deadline) as display:
        run_workers(arguments, workers, display.listen)
    click.echo(f"Recorded {display.finished} cells, {display.failed} failed; {cells - display.recorded} left.")


def _planned(selection: Selection, store: Store, retry_failed: bool, like: Store | None) -> list[PlannedJob]:
    planned = plan(selection, store, retry_failed, plan_order(store, protocols_in(selection)))
    return only_recorded(planned, like) if like else planned


def _recheck(selection: Selection, store: Store, again: Store, how: How) -> None:
    from benchmark.recheck import compare, speed_from

    planned = speed_from(_planned(selection, again, False, store), store)
    count = sum(fitting(planned, how.workers, how.seconds_left))
    if planned and count:
        click.echo(f"Measuring finished cells again into {again.root}, to compare: about {count} fit the time left.")
        _execute(selection, again, how, store)
    outcomes = [outcome for protocol in protocols_in(selection) if (outcome := compare(protocol, store, again)).cells]
    for outcome in outcomes:
        click.echo(outcome.sentence())
    if any(outcome.deviates for outcome in outcomes):
        raise click.exceptions.Exit(EXIT_DEVIATION)


@click.command(hidden=True)
@only_argument
@results_option
@click.option("--deadline", type=float, default=None)
@click.option("--like", type=click.Path(path_type=Path), default=None)
@plugin_option
@retry_option
@device_option
def worker(
    only: tuple[str, ...],
    results: Path,
    deadline: float | None,
    like: Path | None,
    plugins: tuple[Path, ...],
    retry_failed: bool,
    device: Literal["cpu", "cuda"],
) -> None:
    """One worker process of `run`; prints one JSON object per line."""
    from benchmark.errors import LotterybenchError
    from benchmark.executors.worker import Events, Options, work

    store = Store(results)
    events = Events(
        progress=lambda protocol, cell, done, total: _emit(
            "progress", protocol, cell.method, cell.level, cell.seed, done=done, total=total
        ),
        recorded=lambda protocol, cell, record: _emit(
            "recorded",
            protocol,
            cell.method,
            cell.level,
            cell.seed,
            status=record.status,
            reason=record.reason,
            accuracy=record.measured.test_accuracy_percent.last if record.measured else None,
            empty_layers=record.mask.collapsed_layers if record.mask else (),
        ),
    )
    try:
        selection = selection_of(only, partial(with_submissions, store))
        jobs = _planned(selection, store, retry_failed, Store(like) if like else None)
        work(jobs, store, Options(deadline, plugin_files(plugins), retry_failed, device), events)
    except LotterybenchError as error:
        print(json.dumps({"event": "error", "text": str(error)}), flush=True)
        raise click.exceptions.Exit(error.exit_code) from error


def _emit(event: str, protocol: Protocol, method: str, level: int, seed: int, **fields: Any) -> None:
    name = f"{protocol.id} {method} at {density_text(protocol, level)}, seed {seed}"
    print(json.dumps({"event": event, "name": name, **fields}), flush=True)
