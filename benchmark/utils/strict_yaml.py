"""YAML read strictly: no duplicate keys, no tags, and only the types that YAML 1.2 means.

PyYAML follows YAML 1.1: it reads `1e-4` as text, `on` as true, `10:30` as 630 and keeps the last of
duplicate keys. Each of these has silently changed an experiment somewhere, so none of them is possible here.
Values are made straight from PyYAML's events, in a quarter of the time that its nodes and constructors take.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.events import AliasEvent, MappingEndEvent, MappingStartEvent, ScalarEvent, SequenceEndEvent, StreamEndEvent

from benchmark.utils.errors import BadInput
from benchmark.utils.files import YAML_BYTES, read_text_limited

DEEPEST = 40  # levels of nesting; protocols have 5
MOST_VALUES = 50_000  # with every alias written out

_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")


def _plain(text: str) -> Any:
    """What a scalar without quotes means: YAML 1.2's core schema, without octal, hexadecimal and infinite numbers."""
    if text[:1] not in "-+.0123456789" or not text:
        return _WORDS.get(text, text)
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


class _Values:
    """The values that a stream of events stands for. Raises yaml.MarkedYAMLError for what is refused."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._next = events.__next__
        self._anchored: dict[str, Any] = {}
        self._unfinished: set[str] = set()

    def document(self) -> Any:
        """The only document of the stream; None if it is empty."""
        self._next()
        if isinstance(self._next(), StreamEndEvent):
            return None
        value = self._value(self._next(), 0)
        self._next()
        if not isinstance(event := self._next(), StreamEndEvent):
            raise ComposerError(None, None, "a second document begins; one is read", event.start_mark)
        return value

    def _value(self, event: Any, depth: int) -> Any:
        """What begins with `event`, with nothing of its own type: `!!timestamp`, `!!binary` are no plain data."""
        if type(event) is AliasEvent:
            return self._alias(event)
        if event.tag is not None:
            raise ComposerError(None, None, f"tag '{event.tag}' is not allowed", event.start_mark)
        if event.anchor is None:
            return self._own(event, depth)
        if event.anchor in self._anchored or event.anchor in self._unfinished:
            raise ComposerError(None, None, f"anchor '{event.anchor}' stands twice", event.start_mark)
        self._unfinished.add(event.anchor)
        value = self._anchored[event.anchor] = self._own(event, depth)
        self._unfinished.remove(event.anchor)
        return value

    def _own(self, event: Any, depth: int) -> Any:
        if type(event) is ScalarEvent:
            return _plain(event.value) if event.implicit[0] else event.value
        if depth >= DEEPEST:
            raise ComposerError(None, None, f"nested deeper than {DEEPEST} levels", event.start_mark)
        return self._mapping(depth + 1) if type(event) is MappingStartEvent else self._sequence(depth + 1)

    def _alias(self, event: Any) -> Any:
        if event.anchor in self._unfinished:
            raise ConstructorError(None, None, f"alias '{event.anchor}' is recursive", event.start_mark)
        if event.anchor not in self._anchored:
            raise ComposerError(None, None, f"alias '{event.anchor}' stands for nothing", event.start_mark)
        return self._anchored[event.anchor]

    def _sequence(self, depth: int) -> list[Any]:
        values = []
        while type(event := self._next()) is not SequenceEndEvent:
            values.append(self._value(event, depth))
        return values

    def _mapping(self, depth: int) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        while type(event := self._next()) is not MappingEndEvent:
            key = self._value(event, depth)
            if type(key) is not str and type(key) is not int:
                raise ConstructorError(None, None, f"key {key!r} is not text", event.start_mark)
            if key in mapping:
                raise ConstructorError(None, None, f"key '{key}' stands twice", event.start_mark)
            mapping[key] = self._value(self._next(), depth)
        return mapping


def _read(text: str, loader: Any) -> Any:
    document = _Values(yaml.parse(text, Loader=loader)).document()
    _refuse_too_many(document)
    return document


def load_text(text: str, name: str) -> Any:
    """Parse one YAML document; `name` is the file named in errors.

    Raises BadInput with the line and column where the text is not acceptable.
    """
    if len(text) > YAML_BYTES:
        raise BadInput(name, f"is too long: more than {YAML_BYTES:,} bytes", "Give a plain YAML document")
    if yaml.__with_libyaml__:
        # What libyaml refuses, PyYAML's own scanner judges, so that errors read the same on every machine.
        with suppress(yaml.YAMLError, RecursionError, ValueError):
            return _read(text, yaml.CSafeLoader)
    try:
        return _read(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise BadInput(where, str(error.problem or error), "Correct the YAML at that place") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadInput(name, f"not YAML ({type(error).__name__}: {error})", "Give a plain YAML document") from error


def _refuse_too_many(document: Any) -> None:
    """Aliases cost nothing until somebody walks through what they stand for: nine lines can mean a billion values."""
    left, values = [document], 0
    while left:
        value = left.pop()
        values += 1
        if values > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES:,} values, aliases written out")
        left.extend(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())


def load_file(path: Path) -> Any:
    """Parse the YAML file at `path`. Raises BadInput if it cannot be read or parsed."""
    return load_text(read_text_limited(path, YAML_BYTES), str(path))
