"""From pydantic's errors to one sentence that names file, field, cause and fix."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from benchmark.protocols.network import NETWORK_NAMES
from benchmark.utils.errors import BadInput, did_you_mean


def explained(error: ValidationError, document: dict[str, Any], name: str) -> BadInput:
    """The first error that concerns what was meant, about the document read from `name`."""
    first = next((e for e in error.errors() if _meant(e, document)), error.errors()[0])
    place = [str(part) for part in first["loc"] if not _BRANCH.fullmatch(str(part))]
    if place == ["network"] and first["type"] == "union_tag_invalid":  # the wrong field is the discriminator
        given = str(first["ctx"]["tag"])
        return BadInput(f"{name}: network.name", f"there is no '{given}'", did_you_mean(given, list(NETWORK_NAMES)))
    return BadInput(f"{name}: {'.'.join(place) or 'protocol'}", _cause(first), _fix(first["type"], first.get("input")))


# What pydantic puts into an error's place to say which alternative of a union it tried.
_BRANCH = re.compile(
    r"MethodSpec|ControlSpec|AnalysisSpec|bool|int|float|str|.*\[.*\]|rate-per-round|linear-sparsity-to-1|listed|"
    + "|".join(map(re.escape, NETWORK_NAMES)),
    re.DOTALL,
)


_KINDS = {"analysis": "AnalysisSpec", "of": "ControlSpec", "pruner": "MethodSpec"}
"""What a method is by the first of these fields that it has."""


def _meant(error: Any, document: dict[str, Any]) -> bool:
    """Whether an error is of the alternative that was meant: `analysis` makes an analysis, `of` without it a control;
    only text can be a keyword."""
    place = error["loc"]
    if place[:1] == ("methods",) and place[2:3] and place[2] in _KINDS.values():
        given = document["methods"][place[1]]
        meant = next((kind for key, kind in _KINDS.items() if isinstance(given, dict) and key in given), "MethodSpec")
        if place[2] != meant:
            return False
    return error["type"] != "literal_error" or isinstance(error["input"], str)


def _cause(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    return f"{message} (given: {given!r})" if isinstance(given, str | int | float) else message


def _fix(kind: str, given: Any) -> str:
    if kind == "extra_forbidden":
        return "Remove the field or correct its spelling"
    if kind == "missing":
        return "Add the field"
    if isinstance(given, str):
        try:
            float(given)
        except ValueError:
            return "Give a value of the named type"
        return f"The value is quoted text; write the number without quotes: {given}"
    return "Give a value of the named type and range"
