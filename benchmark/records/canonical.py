"""Records, submissions and marks have one text each: what the suite writes. Any other is refused where it is read.

A reader that takes any JSON takes a key that stands twice, which two readers understand differently, and strings that
move a terminal's cursor. `problem` says what is wrong with a text that was already read into a model. Texts are read by
the tens of thousands, so the form that pydantic writes is compared first, with very large and small numbers spelt as
Python spells them; where that differs, the exact form is made and compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel

_SPELT = re.compile(r"-?(\d[\d.]*e-?\d+|0\.0000\d+)(?=,?\n)")  # numbers at the end of a line: 1e16 is 1e+16 in Python
_NULL = '": null'
_ESCAPE = re.compile(r'\\(?!["\\])')


def problem(text: str, layout: BaseModel, exact: Callable[[], str], unused: frozenset[str] = frozenset()) -> str | None:
    """What keeps `text` from being the one form of `layout`, which was read from it; None if it is.

    `exact` makes that form. `unused` names fields that are left out while they are None, although the layout allows it:
    those added later.
    """
    quick = layout.model_dump_json(by_alias=True, exclude_unset=True, indent=1) + "\n"
    if quick != text:
        quick = _SPELT.sub(_as_python, quick)
    if (quick != text or not unused.isdisjoint(_nulls(text))) and exact() != text:
        return _otherwise(text)
    if "\\" in text and _ESCAPE.search(text) and (found := next(_unprintable(json.loads(text)), None)):
        return f"a string holds characters that cannot be printed: {found[:60]!a}"
    return None


def _nulls(text: str) -> Iterator[str]:
    """Names of the fields that are null; a search by position, as texts are many."""
    at = text.find(_NULL)
    while at >= 0:
        yield text[text.rfind('"', 0, at) + 1 : at]
        at = text.find(_NULL, at + 1)


def _as_python(number: re.Match[str]) -> str:
    return repr(float(number[0]))


def _otherwise(text: str) -> str:
    """Why a text is not the one form, as far as it can be said."""
    twice: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in found]
        twice.extend(name for name in names if names.count(name) > 1)
        return dict(found)

    json.loads(text, object_pairs_hook=pairs)
    if twice:
        return f"names {twice[0][:60]!a} twice"
    return (
        "is laid out otherwise than the suite writes it (order, spaces, spelling of numbers, fields at their default)"
    )


def _unprintable(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _unprintable(name)
            yield from _unprintable(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _unprintable(inner)
    elif isinstance(value, str) and not value.isprintable():
        yield value
