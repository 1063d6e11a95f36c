"""Tables of text that fit the terminal: columns share its width, cells wrap at words, what must stay whole does.

The same on a terminal and in a pipe, so that what is read and what is filed look alike.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Sequence
from textwrap import wrap

NARROWEST, WIDEST, USUAL = 40, 120, 80  # characters of a line; where the terminal does not say, the usual
GAP = "  "
LONGEST_WORD = 22  # characters; longer words are broken, where a name may be, if the room is needed


def line_width() -> int:
    """Characters of a line here: of the terminal, or $COLUMNS; 80 in a pipe."""
    return min(max(shutil.get_terminal_size((USUAL, 24)).columns, NARROWEST), WIDEST)


def table_lines(
    headings: Sequence[str], rows: Sequence[Sequence[object]], width: int, whole: Collection[str] = ()
) -> list[str]:
    """Rows under headings in lines of at most `width` characters.

    `whole`: headings of columns whose cells are never broken, such as a verdict. Only a table whose such columns alone
    are wider than `width` is wider.
    """
    texts = [[str(cell) for cell in row] for row in rows]
    columns = [[heading, *(row[n] for row in texts)] for n, heading in enumerate(headings)]
    widths = _widths(columns, [heading in whole for heading in headings], width - len(GAP) * (len(headings) - 1))
    lines = _row(headings, widths)
    lines.append(GAP.join("-" * w for w in widths))
    for row in texts:
        lines += _row(row, widths)
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
