"""Finding pruners: by entry-point name, or in a file given by path."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from benchmark.errors import BadInput, BadPruner, did_you_mean

if TYPE_CHECKING:
    from benchmark.api import Plugin

GROUP = "lotterybench.pruners"
LONGEST_SOURCE = 2**20  # bytes of a plugin file


@dataclass(frozen=True)
class FoundPruner:
    """A pruner class with the digest of its source, comments and docstrings aside."""

    name: str
    kind: type[Plugin]
    digest: str

    def make(self, parameters: Mapping[str, Any]) -> Plugin:
        """An instance with the protocol's parameters. Raises BadPruner if it does not take them."""
        try:
            return self.kind(**parameters)
        except Exception as error:
            raise BadPruner(
                f"pruner '{self.name}'",
                f"cannot be made with {dict(parameters)} ({error})",
                "Correct its parameters",
            ) from error


def source_digest(source: str | bytes) -> str:
    """sha256 of what the code does: its syntax tree without docstrings, comments and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                node.body = body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()


def names() -> list[str]:
    """Every registered pruner."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def find(name: str, plugins: Mapping[str, Path] | None = None) -> FoundPruner:
    """The pruner called `name`: from `plugins` (name -> file) first, then from entry points.

    Raises BadInput if there is none, BadPruner if its module cannot be used.
    """
    if plugins and name in plugins:
        return from_file(plugins[name])
    points = [point for point in entry_points(group=GROUP) if point.name == name]
    if not points:
        raise BadInput(f"pruner '{name}'", "none is registered under this name", did_you_mean(name, names()))
    return from_entry_point(points[0])


def from_entry_point(point: EntryPoint) -> FoundPruner:
    """The pruner class an entry point names. Imports it. Raises BadPruner."""
    try:
        kind = point.load()
    except (Exception, SystemExit) as error:
        raise BadPruner(
            f"pruner '{point.name}'", f"{point.value} cannot be imported ({error})", "Correct its entry point"
        ) from error
    return _checked(point.name, kind)


def from_file(path: Path) -> FoundPruner:
    """The one pruner class defined in a Python file. Its name is the file's stem. Raises BadPruner."""
    return from_source(path, read_plugin(path))


def read_plugin(path: Path) -> bytes:
    """The source in a plugin's file, unread and unrun. Raises BadPruner if there is no such Python file."""
    try:
        if path.suffix == ".py" and path.is_file():  # not a pipe, which might never end
            with path.open("rb") as file:
                source = file.read(LONGEST_SOURCE + 1)
            if len(source) <= LONGEST_SOURCE:
                return source
            raise BadPruner(f"plugin {path}", f"is longer than {LONGEST_SOURCE} bytes", "Keep to one readable file")
    except OSError:
        pass
    raise BadPruner(f"plugin {path}", "is not a Python file", "Give the path of a .py file with one pruner class")


def from_source(path: Path, source: bytes) -> FoundPruner:
    """The one pruner class that `source`, the content of `path`, defines. Runs it. Raises BadPruner."""
    name = f"lotterybench_plugin_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise BadPruner(
            f"plugin {path}", f"cannot be imported ({type(error).__name__}: {error})", "Correct the file"
        ) from error
    from benchmark.api import Plugin

    own = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Plugin) and value.__module__ == module.__name__
    ]
    if len(own) != 1:
        raise BadPruner(f"plugin {path}", f"defines {len(own)} pruner classes", "Define exactly one per file")
    return _checked(path.stem, own[0], source)


def _checked(name: str, kind: Any, source: str | bytes | None = None) -> FoundPruner:
    from benchmark.api import MaskLearner, Pruner

    if not (inspect.isclass(kind) and issubclass(kind, Pruner | MaskLearner)) or inspect.isabstract(kind):
        raise BadPruner(
            f"pruner '{name}'",
            "is no complete Pruner or MaskLearner",
            "Subclass one and define score() or learn()",
        )
    return FoundPruner(name, kind, source_digest(source or inspect.getsource(inspect.getmodule(kind) or kind)))
