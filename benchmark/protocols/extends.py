"""From what a protocol file says to the whole document: what it extends, and shorthands written out. No torch.

A file may begin with `extends: NAME`, another file of its folder (without .yaml), whose fields it takes over. Mappings
are merged field by field, `deviations` are added to, anything else is replaced. Files whose name starts with `_` are
only there to be extended. What is validated, digested and locked is the whole document, so a change in an extended
file is a change of every protocol that extends it.
"""

from __future__ import annotations

import os
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from benchmark.protocols.network import SETS, NetworkSpec, prunable
from benchmark.utils import strict_yaml
from benchmark.utils.errors import BadInput, did_you_mean

DEEPEST = 5  # files that extend each other

_NETWORK: TypeAdapter[NetworkSpec] = TypeAdapter(NetworkSpec)


def read(path: Path) -> Any:
    """The document of a protocol file. Raises BadInput if a file cannot be read, or extends what is not there."""
    return with_shapes(deepcopy(_extended(path, 0)), str(path))


@lru_cache(maxsize=64)
def _parsed(path: Path, _changed: tuple[int, int]) -> Any:
    return strict_yaml.load_file(path)


def _load(path: Path) -> Any:
    """A parsed file, read once while it stays as it is: many extend the same."""
    try:
        state = path.stat()
    except OSError:
        return strict_yaml.load_file(path)  # which says what is wrong
    return _parsed(path, (state.st_mtime_ns, state.st_size))


def _extended(path: Path, depth: int) -> Any:
    document = _load(path)
    if not isinstance(document, dict) or "extends" not in document:
        return document
    base, document = document["extends"], {key: value for key, value in document.items() if key != "extends"}
    if depth >= DEEPEST:
        raise BadInput(str(path), f"is file {depth + 1} of a chain of extends", "Extend fewer, and no file itself")
    extended = path.parent / f"{base}.yaml"
    if base == path.stem or str(base) != extended.stem or not os.path.isfile(extended):
        others = sorted(other.stem for other in path.parent.glob("*.yaml") if other != path)
        raise BadInput(f"{path}: extends", f"there is no {base!r} in its folder", did_you_mean(str(base), others))
    return _merged(_extended(extended, depth + 1), document)


def _merged(base: Any, own: Any, name: str = "") -> Any:
    if isinstance(base, dict) and isinstance(own, dict):
        return {**base, **{key: _merged(base[key], value, key) if key in base else value for key, value in own.items()}}
    if name == "deviations" and isinstance(base, list) and isinstance(own, list):
        return [*base, *own]
    return own


def with_shapes(document: Any, name: str) -> Any:
    """A document whose `pruning.prunable`, if it names a set of tensors, lists them with their shapes.

    Raises BadInput if there is no such set. A network that cannot be read is left for validation to explain.
    """
    pruning = document.get("pruning") if isinstance(document, dict) else None
    if not isinstance(pruning, dict) or not isinstance(chosen := pruning.get("prunable"), str):
        return document
    if chosen not in SETS:
        raise BadInput(f"{name}: pruning.prunable", f"there is no set '{chosen}'", did_you_mean(chosen, list(SETS)))
    try:
        network = _NETWORK.validate_python(document.get("network"), strict=False)
    except ValidationError:
        return document
    shapes = {tensor: list(shape) for tensor, shape in prunable(network, chosen).items()}
    return {**document, "pruning": {**pruning, "prunable": shapes}}
