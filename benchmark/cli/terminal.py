"""What a person sees: tables, progress of workers and of steps. Drawn on a terminal, plain lines when piped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from benchmark.harness.executors.executor import Message

WIDEST = 46  # characters of a column in plain text, room for the longest name; longer cells are wrapped


def show_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under headings."""
    if not sys.stdout.isatty():
        from textwrap import fill

        from tabulate import tabulate

        # Wrapped here: tabulate's own wrapping reads '2,987' as a number and fails on it.
        cells = [[fill(str(cell), WIDEST, break_on_hyphens=False) for cell in row] for row in rows]
        print(title)
        print(tabulate(cells, headers=headings, disable_numparse=True))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))  # else text in brackets is taken for a style
    Console().print(table)


def unit_of(device: str) -> str:
    """What hours are of: core or GPU."""
    return "core" if device == "cpu" else "GPU"


@contextmanager
def step_progress(quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A function of (step, done, total): a bar for each step on a terminal, else a line at its end; none if `quiet`."""
    if quiet or not sys.stdout.isatty():

        def line(step: str, done: int, total: int) -> None:
            if done == total and not quiet:
                click.echo(f"{step} {done:,} of {total:,}")

        yield line
        return
    tasks: dict[str, TaskID] = {}
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()) as bars:

        def bar(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done, total=total)

        yield bar


class Display:
    """Listens to worker messages; counts records whether or not anything is drawn."""

    def __init__(self, workers: int, cells: int, deadline: float | None) -> None:
        self.finished = self.failed = 0
        self._deadline, self._cells, self._started = deadline, cells, time.monotonic()
        self._bars: Progress | None = None
        self._tasks: list[TaskID] = []
        if sys.stdout.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bars = Progress(*columns, console=Console())
            self._tasks = [self._bars.add_task(f"worker {n + 1} starts", total=None) for n in range(workers)]
            self._tasks.append(self._bars.add_task("cells recorded", total=cells))

    @property
    def recorded(self) -> int:
        """Records seen, failed ones included."""
        return self.finished + self.failed

    def __enter__(self) -> Self:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()

    def listen(self, message: Message) -> None:
        """Take in one message of one worker."""
        if message.event == "progress" and self._bars:
            name, done, total = (message.fields[key] for key in ("name", "done", "total"))
            self._bars.update(self._tasks[message.worker], description=name, completed=done, total=total)
        if message.event == "recorded":
            self._record(message)
        if message.event == "submitted":
            job, tasks, logs = (message.fields[key] for key in ("job", "tasks", "logs"))
            print(
                f"Slurm has job {job} with {tasks} task(s). Logs: {logs}. Follow it with: lotterybench status --watch"
            )

    def _record(self, message: Message) -> None:
        failed = message.fields["status"] == "failed"
        self.failed += failed
        self.finished += not failed
        line = f"{message.fields['name']}: {_outcome(message.fields)}"
        if self._bars:
            self._bars.advance(self._tasks[-1])
            if failed:
                self._bars.console.print(line)
            return
        print(f"[{self._clock()}] {self.recorded}/{self._cells} {line}", flush=True)

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self._started)
        left = "" if self._deadline is None else f", {max(0, self._deadline - time.monotonic()) / 60:.0f} min left"
        return f"{seconds // 60}:{seconds % 60:02d}{left}"


def _outcome(fields: dict[str, Any]) -> str:
    """What a cell gave, in words: its accuracy or, where nothing is trained, whether its mask empties a layer."""
    if fields["status"] == "failed":
        return f"failed: {fields['reason']}"
    if fields["accuracy"] is not None:
        return f"{fields['accuracy']:.2f} % test accuracy at the last step"
    return f"empty: {', '.join(fields['empty_layers'])}" if fields["empty_layers"] else "no layer empty"
