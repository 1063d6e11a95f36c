"""Tables on the terminal: boxed when it is one, plain text when it is piped."""

from __future__ import annotations

from collections.abc import Sequence

WIDEST = 46  # characters of a column in plain text, room for the longest name; longer cells are wrapped


def show_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under headings."""
    import sys

    if not sys.stdout.isatty():
        from textwrap import fill

        from tabulate import tabulate

        # Wrapped here: tabulate's own wrapping reads '2,987' as a number and fails on it.
        cells = [[fill(str(cell), WIDEST, break_on_hyphens=False) for cell in row] for row in rows]
        print(title)
        print(tabulate(cells, headers=headings, disable_numparse=True))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))  # else text in brackets is taken for a style
    Console().print(table)


def spoken(seconds: float) -> str:
    """A length of time as people say it: 40 s, 12 min, 2.3 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def unit_of(device: str) -> str:
    """What hours are of: core or GPU."""
    return "core" if device == "cpu" else "GPU"
