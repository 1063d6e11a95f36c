"""The command line. Placeholder verbs come with their capabilities; reading verbs import no torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from benchmark import plan as planning
from benchmark import protocol as protocols
from benchmark.errors import LotterybenchError
from benchmark.store import Store


@click.group()
def cli() -> None:
    """Lotterybench: do published lottery-ticket claims hold?"""


def _emit(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


@cli.command(hidden=True)
@click.argument("only", nargs=-1)
@click.option("--results", type=click.Path(path_type=Path), default=Path("results"))
@click.option("--deadline", type=float, default=None)
@click.option("--plugin", "plugins", type=click.Path(path_type=Path), multiple=True)
def worker(only: tuple[str, ...], results: Path, deadline: float | None, plugins: tuple[Path, ...]) -> None:
    """One worker process; prints JSON lines."""
    from benchmark.executors.worker import Events, work

    store = Store(results)
    jobs = planning.plan(planning.select(protocols.load_all(), only), store)
    events = Events(
        started=lambda protocol, job: _emit(event="started", protocol=protocol.id, job=job),
        progress=lambda protocol, cell, done, total: _emit(
            event="progress", protocol=protocol.id, method=cell.method, cell=cell.name, done=done, total=total
        ),
        recorded=lambda protocol, cell, record: _emit(
            event="recorded", protocol=protocol.id, method=cell.method, cell=cell.name, status=record.status
        ),
    )
    left = work(jobs, store, deadline, {path.stem: path for path in plugins}, events)
    _emit(event="done", without_time=left)


def main() -> None:
    """Entry point: errors the user can act on become one line and an exit code."""
    try:
        cli(standalone_mode=False)
    except LotterybenchError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)


if __name__ == "__main__":
    main()
