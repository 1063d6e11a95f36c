"""Damage for the loaders: bytes from anywhere, and valid files altered in the ways that files get altered."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from benchmark.utils.errors import LotterybenchError

# The same examples on every run, and no clock: a slow machine is no failure. More of them: HYPOTHESIS_PROFILE=long.
settings.register_profile(
    "loaders", derandomize=True, deadline=None, max_examples=60, suppress_health_check=list(HealthCheck)
)
settings.register_profile("long", settings.get_profile("loaders"), derandomize=False, max_examples=400)


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    """Fail if Python and numpy ever hold `limit` bytes more than at the start."""
    tracemalloc.start()
    try:
        yield
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < limit, f"{most:,} bytes were held at once"


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """`whole` with some bits flipped, bytes removed, repeated, moved or put in, or cut short."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.integers(1, 40))
        kind = draw(st.sampled_from(["flip", "flip", "flip", "cut", "remove", "repeat", "insert", "number"]))
        if kind == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del content[at:]
        elif kind == "remove":
            del content[at : at + length]
        elif kind == "repeat":
            content[at:at] = content[at : at + length] * draw(st.integers(1, 50))
        elif kind == "insert":
            content[at:at] = draw(st.binary(max_size=40))
        else:  # the numbers that headers hold
            size = draw(st.sampled_from([1, 2, 4, 8]))
            content[at : at + size] = draw(st.sampled_from([0, 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1])).to_bytes(
                size, "little"
            )
    return bytes(content)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**400), 10**400),
    st.sampled_from([10**4299, -1, 0, 2**31, 2**63, 2**64, 1e308, 5e-324, float("nan"), float("inf")]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["../../x", "/etc/passwd", "a\x00b", "\ud800", "x" * 5000, "NaN", "1e-4", "<<", "*"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value inside, outermost first."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from paths_in(child, (*path, key))


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@st.composite
def altered(draw: st.DrawFn, document: dict[str, Any]) -> dict[str, Any]:
    """A document with some values replaced, removed, swapped with others, renamed or nested too deep."""
    value = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 3))):
        places = [path for path in paths_in(value) if path]
        if not places:
            break
        path, other = draw(st.sampled_from(places)), draw(st.sampled_from(places))
        holder, key = _at(value, path[:-1]), path[-1]
        kind = draw(st.sampled_from(["replace", "replace", "replace", "remove", "swap", "rename", "nest"]))
        if kind == "replace":
            holder[key] = draw(VALUES)
        elif kind == "remove":
            del holder[key]
        elif kind == "swap":
            holder[key] = json.loads(json.dumps(_at(value, other)))
        elif kind == "rename" and isinstance(holder, dict):
            holder[draw(st.text(max_size=10))] = holder.pop(key)
        else:
            holder[key] = nested(draw(st.sampled_from([3, 50, 150])))
    return value


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


PROFILE = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "loaders"))


def refused_or_read(load: Callable[[], object]) -> bool:
    """Whether `load` gave a value; anything it raises but a LotterybenchError of one line fails the test."""
    problem = None
    try:
        load()
    except LotterybenchError as error:
        problem = str(error)
    assert problem is None or (len(problem.splitlines()) <= 1 and len(problem) < 3100)
    return problem is None
