"""What a command line selects: the results folder of a verb that reads, and protocols and methods by pattern."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from benchmark import protocol as protocols
from benchmark.errors import BadInput, did_you_mean
from benchmark.plan import method_names, select
from benchmark.protocol import Protocol
from benchmark.store import Store
from benchmark.verbs.options import DEFAULT_RESULTS

Selection = list[tuple[Protocol, str]]


def existing_results(results: Path) -> Store:
    """The results folder of a verb that only reads. Raises BadInput if a folder was named that is not there.

    Without `results/` in the working folder nothing is measured yet, which is no mistake.
    """
    if results != DEFAULT_RESULTS and not results.is_dir():
        raise BadInput(str(results), "there is no such results folder", "Correct --results")
    return Store(results)


def _as_it_is(protocol: Protocol) -> Protocol:
    return protocol


def _every_method(protocol: Protocol) -> Collection[str]:
    return method_names(protocol)


def patterns_of(only: Sequence[str]) -> list[str]:
    """Single patterns: ONLY='a b' of a Makefile is one argument, and commas separate too."""
    return [part for given in only for part in re.split(r"[,\s]+", given) if part]


def selection_of(
    only: Sequence[str],
    widened: Callable[[Protocol], Protocol] = _as_it_is,
    meant: Callable[[Protocol], Collection[str]] = _every_method,
) -> Selection:
    """(protocol, method) pairs for patterns such as `lth/*`, `lth/lenet-mnist:imp*` or a protocol file.

    `widened` may add methods to a protocol; `meant` says which methods a pattern without `:METHOD` means.
    Raises BadInput, with the nearest name, for a pattern that matches nothing.
    """
    patterns, widened = patterns_of(only), cache(widened)
    files = [pattern for pattern in patterns if pattern.split(":")[0].endswith((".yaml", ".yml"))]
    known = protocols.load_all()
    selection: dict[tuple[Protocol, str], None] = {}
    for pattern in patterns or ["*"]:
        if pattern in files:
            path, _, method = pattern.partition(":")
            own = protocols.load_file(Path(path))
            matched = select([widened(own)], [f"{own.id}:{method or '*'}"])
        else:
            candidates = [p for p in known if fnmatchcase(p.id, pattern.partition(":")[0])]
            matched = select([widened(p) for p in candidates], [pattern])
        if ":" not in pattern:
            matched = [(protocol, method) for protocol, method in matched if method in meant(protocol)]
        if not matched:
            raise BadInput(f"'{pattern}'", "matches no protocol or method", _hint(pattern, known, widened))
        selection.update(dict.fromkeys(matched))
    return list(selection)


def _hint(pattern: str, known: list[Protocol], widened: Callable[[Protocol], Protocol]) -> str:
    name, _, method = pattern.partition(":")
    for protocol in known:
        if protocol.id == name and method:
            return did_you_mean(method, method_names(widened(protocol)))
    if any(protocol.id.startswith(f"{name}/") for protocol in known):
        return f"For all of them write '{name}/*'"
    return did_you_mean(name, [protocol.id for protocol in known])


def protocols_in(selection: Selection) -> list[Protocol]:
    """The protocols of a selection, each once, in order."""
    return list(dict.fromkeys(protocol for protocol, _ in selection))
