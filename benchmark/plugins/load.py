"""Importing a plugin: by entry-point name, or from a file given by path. Runs the author's code."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmark.compression.interface import Compressor
from benchmark.plugins.registry import OWN_PLUGINS, PluginSource, read_plugin, registered, source_digest, text_digest
from benchmark.pruning.interface import MaskLearner, Plugin, Pruner
from benchmark.training.hooks import Hook
from benchmark.training.learner import Learner
from benchmark.utils.errors import BadInput, BadPruner

KINDS: dict[str, tuple[type, ...]] = {"pruner": (Pruner, MaskLearner), "learner": (Learner,), "hook": (Hook,)}
COMPLETE = {
    "pruner": "Subclass Pruner or MaskLearner and define score() or learn()",
    "learner": "Subclass Learner and define first_scores() and mask()",
    "hook": "Subclass Hook or MovingMasks and define what they leave open",
}


def kind_of_class(kind: type) -> str:
    """ "pruner", "learner" or "hook"; a learner is a hook, too, and is called by the longer name."""
    return next((word for word in ("learner", "hook") if issubclass(kind, KINDS[word])), "pruner")


@dataclass(frozen=True)
class FoundPruner:
    """A pruner class with the digest of its source, comments and docstrings aside."""

    name: str
    kind: type[Any]
    digest: str

    def make(self, parameters: Mapping[str, Any]) -> Any:
        """An instance with the protocol's parameters. Raises BadPruner if it does not take them."""
        try:
            return self.kind(**parameters)
        except Exception as error:
            raise BadPruner(
                f"pruner '{self.name}'",
                f"cannot be made with {dict(parameters)} ({error})",
                "Correct its parameters",
            ) from error


def find(name: str, plugins: Mapping[str, Path] | None = None) -> FoundPruner:
    """The pruner called `name`: from `plugins` (name -> file) first, then from entry points.

    Raises BadInput if there is none, BadPruner if its module cannot be used.
    """
    if plugins and name in plugins:
        return from_file(plugins[name])
    return from_entry_point(registered(name))


def make_own(source: PluginSource, parameters: Mapping[str, Any], kind: str = "pruner") -> Any:
    """A plugin of this repository, with the protocol's parameters. Imports it, and reads nothing else.

    Raises BadPruner if it cannot be imported or does not take the parameters.
    """
    assert source.of_this_repository
    assert source.entry_point is not None
    module, _, name = source.entry_point.partition(":")
    try:
        return getattr(import_module(module), name)(**parameters)
    except Exception as error:
        cause = f"cannot be made with {dict(parameters)} ({error})"
        raise BadPruner(f"{kind} '{source.name}'", cause, "Correct its parameters") from error


def make_hook(source: PluginSource, parameters: Mapping[str, Any]) -> Hook:
    """A hook of this repository. Raises BadPruner as `make_own`."""
    hook: Hook = make_own(source, parameters, "hook")
    return hook


def make_learner(source: PluginSource, parameters: Mapping[str, Any]) -> Learner:
    """A learner of this repository. Raises BadInput for a pruner that is none, BadPruner as `make_own`."""
    learner = make_own(source, parameters, "learner")
    if not isinstance(learner, Learner):
        raise BadInput(f"pruner '{source.name}'", "is no learner, and its method says learning", "Remove learning")
    return learner


def make_compressor(source: PluginSource, parameters: Mapping[str, Any]) -> Compressor:
    """A compressor of this repository. Raises BadInput for anybody else's, BadPruner as `make_own`."""
    if not source.of_this_repository:
        raise BadInput(
            f"compressor '{source.name}'",
            "is not of this repository, and no confined process compresses yet",
            "Use one of its own, or call it with benchmark.compression.interface.compressed",
        )
    compressor: Compressor = make_own(source, parameters, "compressor")
    return compressor


def from_entry_point(point: EntryPoint, kind: str | None = None) -> FoundPruner:
    """The class of a kind (None: any) that an entry point names. Imports it. Raises BadPruner."""
    try:
        found = point.load()
    except (Exception, SystemExit) as error:
        raise BadPruner(
            f"{kind or 'pruner'} '{point.name}'",
            f"{point.value} cannot be imported ({error})",
            "Correct its entry point",
        ) from error
    return _checked(point.name, found, kind or (kind_of_class(found) if inspect.isclass(found) else "pruner"))


def from_file(path: Path, kind: str | None = "pruner") -> FoundPruner:
    """The one class of a kind (None: any) defined in a Python file, named after it. Raises BadPruner."""
    return from_source(path, read_plugin(path), kind)


def from_source(path: Path, source: bytes, kind: str | None = "pruner") -> FoundPruner:
    """The one class of a kind (None: any) that `source`, the content of `path`, defines. Runs it. Raises BadPruner."""
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
    own = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Plugin | Hook) and value.__module__ == module.__name__
    ]
    if len(own) != 1:
        found = f"defines {len(own)} {kind or 'plugin'} classes"
        raise BadPruner(f"plugin {path}", found, "Define exactly one per file")
    return _checked(path.stem, own[0], kind or kind_of_class(own[0]), source)


def _checked(name: str, found: Any, kind: str, source: str | bytes | None = None) -> FoundPruner:
    known = inspect.isclass(found) and issubclass(found, tuple(base for bases in KINDS.values() for base in bases))
    own = kind_of_class(found) if known else kind
    if not known or inspect.isabstract(found) or own != kind:
        complete = " or ".join(base.__name__ for base in KINDS[kind])
        cause = f"is no complete {complete}" if own == kind else f"is a {own}, not a {kind}"
        raise BadPruner(f"{kind} '{name}'", cause, COMPLETE[kind])
    if source is not None:
        return FoundPruner(name, found, text_digest(source))
    text = inspect.getsource(inspect.getmodule(found) or found)
    of_this_repository = Path(inspect.getfile(found)).resolve().parent == OWN_PLUGINS
    return FoundPruner(name, found, source_digest(text) if of_this_repository else text_digest(text))
