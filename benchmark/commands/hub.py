"""Verbs that share results: push, pull."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.commands.options import only_argument, results_option, selection_of
from benchmark.store import Store
from benchmark.submissions import with_submissions

if TYPE_CHECKING:
    from benchmark.hub.pushing import Say


@click.command()
@click.argument("repository")
@only_argument
@results_option
@click.option("--private", is_flag=True, help="If the repository has to be made, make it private.")
def push(repository: str, only: Sequence[str], results: Path, private: bool) -> None:
    """Put records, masks and curves into a dataset repository of the Hugging Face Hub.

    Every file is checked before the first is sent. What is there already is skipped; what differs there is never
    replaced (exit code 1). Interrupted or outrun by another writer, the same command goes on.

    \b
    Examples:
      lotterybench push me/my-records
      lotterybench push me/my-records 'lth/*' --results /tmp/mine
      HF_TOKEN=hf_... lotterybench push me/my-records mnist1d/mlp:imp --private
    """
    from benchmark.hub.pushing import push as push_to
    from benchmark.hub.remote import Remote

    store = Store(results)
    selection = selection_of(only, partial(with_submissions, store))
    with shown() as say:
        done = push_to(store, selection, Remote(repository), private, say)
    click.echo(f"{done.sent:,} files sent in {done.commits} commits, {done.there:,} were there already.")
    click.echo(f"{repository} is at commit {done.commit}")


@click.command()
@click.argument("repository")
@only_argument
@click.option("--revision", default="main", show_default=True, help="A commit, or a branch or tag to look up.")
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="Results folder to fill.",
)
def pull(repository: str, only: Sequence[str], revision: str, to: Path) -> None:
    """Take records, masks and curves from a dataset repository of the Hugging Face Hub.

    Everything is downloaded and checked before the first file is moved in. What is here already is kept; if it
    differs, nothing is taken over (exit code 1). The commit is printed and noted in pulled.json.
    With HF_HUB_OFFLINE=1, what was pulled before comes from the client's cache.

    \b
    Examples:
      lotterybench pull them/their-records --revision 4a5c7c1fa8b1d9b0e8c2b1d6c9a6a3f0b7e2d581
      lotterybench pull them/their-records 'lth/*' --to /tmp/theirs
    """
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
