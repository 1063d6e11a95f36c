"""Verbs that share results: push, pull."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.commands.selecting import selection_of
from benchmark.store import Store
from benchmark.submissions import with_submissions

if TYPE_CHECKING:
    from benchmark.hub.pushing import Say


def push(repository: str, only: Sequence[str], results: Path, private: bool) -> None:
    """Put records, masks and curves into a dataset repository of the Hugging Face Hub."""
    from benchmark.hub.pushing import push as push_to
    from benchmark.hub.remote import Remote

    store = Store(results)
    selection = selection_of(only, partial(with_submissions, store))
    with shown() as say:
        done = push_to(store, selection, Remote(repository), private, say)
    click.echo(f"{done.sent:,} files sent in {done.commits} commits, {done.there:,} were there already.")
    click.echo(f"{repository} is at commit {done.commit}")


def pull(repository: str, only: Sequence[str], revision: str, to: Path) -> None:
    """Take records, masks and curves from a dataset repository of the Hugging Face Hub."""
    from benchmark.hub.pulling import pull as pull_from
    from benchmark.hub.remote import SHA, Remote

    with shown() as say:
        done = pull_from(Store(to), partial(selection_of, only), Remote(repository), revision, say)
    if done.others:
        first = ", ".join(repr(path[:60]) for path in done.others[:3])
        click.echo(f"{len(done.others):,} other files left alone: {first}{', ...' if len(done.others) > 3 else ''}")
    click.echo(f"{done.new:,} files taken over into {to}, {done.here:,} were here already.")
    moved = "" if SHA.fullmatch(revision) else f" ('{revision}' moves; to get the same again: --revision {done.commit})"
    click.echo(f"{repository} at commit {done.commit}{moved}")


@contextmanager
def shown(quiet: bool = False) -> Iterator[Say]:
    """A bar for every step on a terminal, else a plain line when a step ends; nothing if `quiet`."""
    if quiet or not sys.stdout.isatty():

        def line(step: str, done: int, total: int) -> None:
            if done == total and not quiet:
                click.echo(f"{step} {done:,} of {total:,}")

        yield line
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    tasks: dict[str, TaskID] = {}
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()) as bars:

        def bar(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done, total=total)

        yield bar
