"""What a person sees: tables, progress of workers and of steps. Drawn on a terminal, plain lines when piped.

Tables fit the terminal: columns share its width, cells wrap at words, what must stay whole does. They are the same on a
terminal and in a pipe, so that what is read and what is filed look alike.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from textwrap import wrap
from types import TracebackType
from typing import Any, Self
from typing import Protocol as Interface

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from benchmark.harness.executors.executor import Message
from benchmark.utils.files import spoken

NARROWEST, WIDEST, USUAL = 40, 120, 80  # characters of a line; where the terminal does not say, the usual
GAP = "  "
LONGEST_WORD = 22  # characters; longer words are broken, where a name may be, if the room is needed


def line_width() -> int:
    """Characters of a line here: of the terminal, or $COLUMNS; 80 in a pipe."""
    return min(max(shutil.get_terminal_size((USUAL, 24)).columns, NARROWEST), WIDEST)


def table_lines(
    headings: Sequence[str],
    rows: Sequence[Sequence[object]],
    width: int,
    whole: Collection[str] = (),
    beneath: Sequence[str] = (),
) -> list[str]:
    """Rows under headings in lines of at most `width` characters.

    `whole`: headings of columns whose cells are never broken, such as a verdict. Only a table whose such columns alone
    are wider than `width` is wider. `beneath`: of each row a text that has the whole width, under it.
    """
    texts = [[str(cell) for cell in row] for row in rows]
    columns = [[heading, *(row[n] for row in texts)] for n, heading in enumerate(headings)]
    widths = _widths(columns, [heading in whole for heading in headings], width - len(GAP) * (len(headings) - 1))
    lines = _row(headings, widths)
    lines.append(GAP.join("-" * w for w in widths))
    for n, row in enumerate(texts):
        lines += _row(row, widths)
        lines += [f"{GAP}{line}" for text in beneath[n : n + 1] for line in _wrapped(text, width - len(GAP))]
    return lines


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 cell, 6 cells."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shortened(text: str, width: int) -> str:
    """A text in one line: words from its beginning, with an ellipsis if some are left out."""
    if len(text) <= width:
        return text
    cut = text[: width - 1].rsplit(" ", 1)[0] if " " in text[: width - 1] else text[: width - 1]
    return f"{cut.rstrip(' ,;:')}…"


def _widths(columns: Sequence[Sequence[str]], whole: Sequence[bool], room: int) -> list[int]:
    """Widths that share `room`: the widest column gives way first, none below its longest word while others can."""
    widths = [max(len(cell) for cell in column) for column in columns]
    words = [max(len(word) for cell in column for word in cell.split() or [""]) for column in columns]
    least = [
        full if unbroken else min(full, word, LONGEST_WORD)
        for full, unbroken, word in zip(widths, whole, words, strict=True)
    ]
    for floors in (least, [floor if unbroken else 1 for floor, unbroken in zip(least, whole, strict=True)]):
        while sum(widths) > room:
            free = [n for n, width in enumerate(widths) if width > floors[n]]
            if not free:
                break
            widths[max(free, key=lambda n: widths[n])] -= 1
    return widths


def _row(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """One row as lines."""
    wrapped = [_wrapped(cell, width) for cell, width in zip(cells, widths, strict=True)]
    height = max(len(lines) for lines in wrapped)
    filled = [[*lines, *[""] * (height - len(lines))] for lines in wrapped]
    return [
        GAP.join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in zip(*filled, strict=True)
    ]


def _wrapped(text: str, width: int) -> list[str]:
    if len(text) <= width:
        return [text]
    fitting = (piece for word in text.split() for piece in _pieces(word, width))
    return wrap(" ".join(fitting), width, break_on_hyphens=False) or [""]


def _pieces(word: str, width: int) -> list[str]:
    """A word that is too long, broken behind signs that join names (`/`, `+`, `-`, `_`, `,`), else anywhere."""
    if len(word) <= width:
        return [word]
    pieces = [""]
    for part in re.findall(r"[^/+\-_,]+[/+\-_,]*|[/+\-_,]+", word):
        if len(pieces[-1]) + len(part) > width and pieces[-1]:
            pieces.append("")
        pieces[-1] += part
    return [piece[n : n + width] for piece in pieces for n in range(0, len(piece), width)]


def show_table(
    title: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    whole: Collection[str] = (),
    beneath: Sequence[str] = (),
) -> None:
    """Print rows under headings, within the terminal's width; `whole` and `beneath` as in `table_lines`."""
    bold = sys.stdout.isatty()
    lines = table_lines(headings, list(rows), line_width(), whole, beneath)
    click.echo(click.style(title, bold=True) if bold else title)
    click.echo("\n".join(lines))


def show_paragraph(text: str, indent: str = "  ") -> None:
    """Print a text within the terminal's width, its later lines indented further than the first.

    Names, paths and commands stay whole, to be copied: only one that alone is longer than a line makes a longer line.
    """
    later = f"{indent}  "
    click.echo("\n".join(wrap(text, line_width(), initial_indent=indent, subsequent_indent=later,
                              break_long_words=False, break_on_hyphens=False)))  # fmt: skip


def show_sentence(text: str) -> None:
    """Print a text within the terminal's width, as what stands below a table: no line of it is indented."""
    click.echo("\n".join(wrap(text, line_width(), break_long_words=False, break_on_hyphens=False)))


def unit_of(device: str) -> str:
    """What hours are of: core or GPU."""
    return "core" if device == "cpu" else "GPU"


@contextmanager
def step_progress(quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A function of (step, done, total): a bar for each step on a terminal, else a line at its end; none if `quiet`.

    On stderr: what a verb found is on stdout, alone.
    """
    if quiet or not sys.stderr.isatty():

        def line(step: str, done: int, total: int) -> None:
            if done == total and not quiet:
                click.echo(f"{step} {done:,} of {total:,}", err=True)

        yield line
        return
    tasks: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def bar(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done, total=total)

        yield bar


class Serves(Interface):
    """Knows what a cell is for."""

    def words(self, cell: str) -> str:
        """What the cell of this title is for, in words that follow its result; or nothing."""
        ...


class Display:
    """Listens to worker messages; counts records whether or not anything is drawn.

    `planned`: titles of the cells to be recorded. Networks that these start from are recorded besides, if missing.
    """

    def __init__(
        self, workers: int, planned: Collection[str], deadline: float | None, serves: Serves | None = None
    ) -> None:
        self.finished = self.failed = 0
        self._titles: set[str] = set()
        self._deadline, self._started = deadline, time.monotonic()
        self._planned, self._cells = frozenset(planned), len(planned)
        self._serves = serves
        self._bars: Progress | None = None
        self._tasks: list[TaskID] = []
        if sys.stdout.isatty():
            text = TextColumn("{task.description}", table_column=Column(ratio=3, overflow="fold"))
            columns = (
                text,
                BarColumn(bar_width=None, table_column=Column(ratio=1)),  # without a ratio it takes all there is
                MofNCompleteColumn(),
                TimeRemainingColumn(elapsed_when_finished=True),
            )
            self._bars = Progress(*columns, console=Console(), expand=True)
            self._tasks = [self._bars.add_task(f"worker {n + 1} starts", total=None) for n in range(workers)]
            self._tasks.append(self._bars.add_task("cells recorded", total=self._cells))

    @property
    def titles(self) -> frozenset[str]:
        """Titles of the cells recorded."""
        return frozenset(self._titles)

    @property
    def recorded(self) -> int:
        """Records seen, failed ones included."""
        return self.finished + self.failed

    @property
    def left(self) -> int:
        """Cells without a record: planned ones, and of the others those that came."""
        return self._cells - self.recorded

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
            latest = message.fields.get("latest")
            words = escape(f"{name}: {latest}" if latest else name)
            self._bars.update(self._tasks[message.worker], description=words, completed=done, total=total)
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
        name = str(message.fields["name"])
        self._titles.add(name)
        self._cells += name not in self._planned
        line = f"{name}: {_outcome(message.fields)}{self._serves.words(name) if self._serves else ''}"
        if self._bars:
            words = escape(f"recorded; last: {line}")
            self._bars.update(self._tasks[-1], advance=1, total=self._cells, description=words)
            if failed:
                self._bars.console.print(escape(line))
            return
        print(f"[{self._clock()}] {self.recorded}/{self._cells} {line}", flush=True)

    def _clock(self) -> str:
        seconds = time.monotonic() - self._started
        to_go = seconds / self.recorded * (self._cells - self.recorded)  # at the pace so far
        if self._deadline is not None:
            to_go = min(to_go, max(0.0, self._deadline - time.monotonic()))
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d}, {spoken(to_go)} to go"


def _outcome(fields: dict[str, Any]) -> str:
    """What a cell gave, in words: its accuracy, what an analysis found, or whether a mask empties a layer."""
    if fields["status"] == "failed":
        return f"failed: {fields['reason']}"
    if fields["accuracy"] is not None:
        return f"{fields['accuracy']:.2f} % at the last step"
    if fields["numbers"]:
        return str(fields["numbers"])
    return f"empty: {', '.join(fields['empty_layers'])}" if fields["empty_layers"] else "no layer empty"
