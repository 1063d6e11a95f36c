"""Verbs that train: run, and the worker processes it starts."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import click

from benchmark.commands.options import (
    Duration,
    Selection,
    only_argument,
    protocols_in,
    results_option,
    selection_of,
)
from benchmark.commands.reading import show_plan
from benchmark.errors import EXIT_DEVIATION, EXIT_ENVIRONMENT, EXIT_USAGE, BadInput
from benchmark.plan import PlannedJob, fitting, only_recorded, plan
from benchmark.progress import Display
from benchmark.protocol import Protocol
from benchmark.store import Store
from benchmark.units import density_text

plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A pruner in a Python file; protocols name it by the file's stem.",
)


@click.command()
@only_argument
@results_option
@click.option("--budget", type=Duration(), help="Stop in time, at a safe point: 90s, 25m, 2h. Default: no limit.")
@click.option(
    "--workers", type=click.IntRange(1), default=os.cpu_count() or 1, show_default="one per core", help="Processes."
)
@plugin_option
@click.option(
    "--recheck",
    type=click.Path(path_type=Path, file_okay=False),
    help="With time left, measure finished cells again into this folder and compare.",
)
def run(
    only: tuple[str, ...],
    results: Path,
    budget: float | None,
    workers: int,
    plugins: tuple[Path, ...],
    recheck: Path | None,
) -> None:
    """Measure what is missing, most wanted first; whatever was finished is kept.

    \b
    Examples:
      lotterybench run --budget 25m
      lotterybench run 'lth/*' --budget 2h --workers 2
      lotterybench run mnist1d/mlp:imp --results /tmp/mine
      lotterybench run --budget 10m --recheck recheck
    """
    deadline = time.time() + budget if budget else None
    selection, store = _with_data(selection_of(only)), Store(results)
    planned = plan(selection, store)
    if planned:
        show_plan(selection, store, budget, workers)
        if any(fitting(planned, workers, budget)):
            _execute(selection, store, deadline, min(workers, len(planned)), plugins, None)
        else:
            click.echo("Not one training fits the budget; give it more time.")
    else:
        click.echo("Nothing is missing: every selected cell has a record.")
    if recheck is not None and (deadline is None or time.time() < deadline):
        _recheck(selection, store, Store(recheck), deadline, workers, plugins)
    if not any(store.records(protocol) for protocol in protocols_in(selection)):
        click.echo("Nothing was measured.")
        raise click.exceptions.Exit(EXIT_USAGE)


def _with_data(selection: Selection) -> Selection:
    """The part of a selection whose data is here or could be fetched; says what is skipped and why."""
    from benchmark.executors.data import obtain_data

    reasons = {protocol.key: obtain_data(protocol) for protocol in protocols_in(selection)}
    for key, reason in reasons.items():
        if reason:
            click.echo(f"Skipped {key}: {reason}")
    usable = [(protocol, method) for protocol, method in selection if reasons[protocol.key] is None]
    if not usable:
        raise click.exceptions.Exit(EXIT_ENVIRONMENT)
    return usable


def _execute(
    selection: Selection,
    store: Store,
    deadline: float | None,
    workers: int,
    plugins: tuple[Path, ...],
    like: Store | None,
) -> None:
    from benchmark.executors.local import run_workers

    arguments = [*_patterns(selection), "--results", str(store.root)]
    arguments += ["--deadline", str(deadline)] if deadline else []
    arguments += [part for path in plugins for part in ("--plugin", str(path))]
    arguments += ["--like", str(like.root)] if like else []
    cells = sum(len(item.job.cells) for item in _planned(selection, store, like))
    with Display(workers, cells, deadline) as display:
        run_workers(arguments, workers, display.listen)
    click.echo(f"Recorded {display.finished} cells, {display.failed} failed; {cells - display.recorded} left.")


def _patterns(selection: Selection) -> list[str]:
    return [f"{protocol.argument}:{method}" for protocol, method in selection]


def _planned(selection: Selection, store: Store, like: Store | None) -> list[PlannedJob]:
    planned = plan(selection, store)
    return only_recorded(planned, like) if like else planned


def _recheck(
    selection: Selection, store: Store, again: Store, deadline: float | None, workers: int, plugins: tuple[Path, ...]
) -> None:
    from benchmark.recheck import compare, speed_from

    planned = speed_from(_planned(selection, again, store), store)
    left = None if deadline is None else deadline - time.time()
    count = sum(fitting(planned, workers, left))
    if planned and count:
        click.echo(f"Measuring finished cells again into {again.root}, to compare: about {count} fit the time left.")
        _execute(selection, again, deadline, min(workers, len(planned)), plugins, store)
    worse = [outcome for protocol in protocols_in(selection) if (outcome := compare(protocol, store, again)).cells]
    for outcome in worse:
        click.echo(outcome.sentence())
    if any(outcome.deviates for outcome in worse):
        raise click.exceptions.Exit(EXIT_DEVIATION)


@click.command(hidden=True)
@only_argument
@results_option
@click.option("--deadline", type=float, default=None)
@click.option("--like", type=click.Path(path_type=Path), default=None)
@plugin_option
def worker(
    only: tuple[str, ...], results: Path, deadline: float | None, like: Path | None, plugins: tuple[Path, ...]
) -> None:
    """One worker process of `run`; prints one JSON object per line."""
    from benchmark.errors import LotterybenchError
    from benchmark.executors.worker import Events, work

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
        ),
    )
    try:
        jobs = _planned(selection_of(only), store, Store(like) if like else None)
        work(jobs, store, deadline, _plugin_files(plugins), events)
    except LotterybenchError as error:
        print(json.dumps({"event": "error", "text": str(error)}), flush=True)
        raise click.exceptions.Exit(error.exit_code) from error


def _emit(event: str, protocol: Protocol, method: str, level: int, seed: int, **fields: Any) -> None:
    name = f"{protocol.id} {method} at {density_text(protocol, level)}, seed {seed}"
    print(json.dumps({"event": event, "name": name, **fields}), flush=True)


def _plugin_files(plugins: tuple[Path, ...]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in plugins:
        if not path.is_file():
            raise BadInput(f"plugin {path}", "there is no such file", "Give the path of a Python file")
        files[path.stem] = path
    return files
