"""YAML read strictly: no duplicate keys, and only the types that YAML 1.2 means.

PyYAML follows YAML 1.1: it reads `1e-4` as text, `on` as true, `10:30` as 630 and keeps the last of
duplicate keys. Each of these has silently changed an experiment somewhere, so none of them is possible here.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from benchmark.errors import BadInput
from benchmark.limited import YAML_BYTES, read_text_limited

DEEPEST = 40  # levels of nesting; protocols have 5
MOST_VALUES = 50_000  # with every alias written out


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 core-schema scalars and without duplicate keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node without a tag of its own: `!!timestamp`, `!!binary` and the like have no place in plain data."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(None, None, f"tag '{event.tag}' is not allowed", event.start_mark)
        if self.depth >= DEEPEST:
            mark = getattr(event, "start_mark", None)
            raise yaml.composer.ComposerError(None, None, f"nested deeper than {DEEPEST} levels", mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:null", r"^(?:~|null|)$", ["~", "n", ""]),
    ("tag:yaml.org,2002:bool", r"^(?:true|false)$", ["t", "f"]),
    ("tag:yaml.org,2002:int", r"^[-+]?(?:0|[1-9][0-9]*)$", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$",
        list("-+.0123456789"),
    ),
):
    _StrictLoader.add_implicit_resolver(_tag, re.compile(_pattern), _first)


def _mapping_without_duplicates(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not text", key_node.start_mark)
        if key in mapping:
            raise yaml.constructor.ConstructorError(None, None, f"key '{key}' stands twice", key_node.start_mark)
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


def _float(loader: _StrictLoader, node: yaml.ScalarNode) -> float:
    return float(loader.construct_scalar(node))


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping_without_duplicates)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _float)


class _FastLoader(_StrictLoader):
    """The same loader over libyaml's events: scanning in Python takes six times as long, on every start."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        events = yaml.CSafeLoader(text)
        for method in ("check_event", "peek_event", "get_event"):
            setattr(self, method, getattr(events, method))


def load_text(text: str, name: str) -> Any:
    """Parse one YAML document; `name` is the file named in errors.

    Raises BadInput with the line and column where the text is not acceptable.
    """
    if len(text) > YAML_BYTES:
        raise BadInput(name, f"is too long: more than {YAML_BYTES:,} bytes", "Give a plain YAML document")
    if yaml.__with_libyaml__:
        # What libyaml refuses, PyYAML's own scanner judges, so that errors read the same on every machine.
        with suppress(yaml.YAMLError, RecursionError, ValueError):
            document = yaml.load(text, Loader=_FastLoader)
            _refuse_too_many(document)
            return document
    try:
        document = yaml.load(text, Loader=_StrictLoader)
        _refuse_too_many(document)
        return document
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
