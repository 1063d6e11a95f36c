"""--plugin and --set: methods that a run adds to the protocols it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.planning.plan import plan
from benchmark.planning.select import Selection, patterns_of, selection_of, with_sources
from benchmark.plugins.registry import locate, plugin_files
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, behind, cells_of
from benchmark.protocols.methods import MethodSpec
from benchmark.records import submissions
from benchmark.records.store import Store
from benchmark.records.submissions import Submission, method_name
from benchmark.utils.errors import BadInput

if TYPE_CHECKING:
    from benchmark.plugins.describe import PluginFacts


@dataclass(frozen=True)
class Chosen:
    """What a command line selects, with its plugins.

    `waiting`: unfinished methods that an earlier run added to the results folder, whose plugin file was not given now.
    """

    selection: Selection
    submissions: tuple[Submission, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    waiting: Selection = field(default_factory=list)

    @property
    def measurable(self) -> Selection:
        """The part of the selection that can be measured, again if need be: a plugin's method needs its file."""
        return [pair for pair in self.selection if _has_its_file(pair, self.files)]

    def write_submissions(self, store: Store) -> None:
        """Say in a results folder what the added methods are. Raises BadInput if other code made records there."""
        for submission in self.submissions:
            for protocol, method in self.selection:
                if method == submission.name and protocol.key == _key(submission):
                    submissions.write(store, protocol, submission)


def _key(submission: Submission) -> str:
    return f"{submission.protocol.id}@{submission.protocol.version}"


def settings_of(given: Sequence[str], files: Mapping[str, Path]) -> dict[str, str]:
    """Hyper-parameters as text, by name. Raises BadInput for a malformed or repeated one, or without one plugin."""
    values: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier() or not value:
            raise BadInput(f"--set {text}", "is not NAME=VALUE", "Write for example --set alpha=0.5")
        if name in values:
            raise BadInput(f"--set {text}", f"{name} is given twice", "Run once for each value")
        values[name] = value
    if values and not files:
        raise BadInput(f"--set {given[0]}", "no --plugin is given that it could set", "Add --plugin FILE")
    if values and len(files) != 1:
        raise BadInput("--set", f"there are {len(files)} plugins", "Give exactly one --plugin with --set")
    return values


def chosen(only: Sequence[str], store: Store, plugins: Sequence[Path], given: Sequence[str]) -> Chosen:
    """The selection of `run` and `plan`. Raises BadInput or BadPruner for what cannot be used, before any worker."""
    files = plugin_files(plugins)
    settings = settings_of(given, files)
    facts = _facts(files, settings)
    added: dict[tuple[str, str], Submission] = {}

    def widened(protocol: Protocol) -> Protocol:
        own = _added(protocol, facts, settings)
        added.update({(protocol.key, name): submission for name, submission in own.items()})
        return submissions.added_to(submissions.with_submissions(store, protocol), own)

    def meant(protocol: Protocol) -> set[str]:
        own = {name for key, name in added if key == protocol.key}
        return {*own, DENSE} if own else set(protocol.all_methods) | {DENSE}

    names = {fact.name: method_name(fact.name, fact.parameters) for fact in facts}
    selection = with_sources(selection_of([_exact(pattern, names) for pattern in patterns_of(only)], widened, meant))
    waiting = [pair for pair in selection if not _has_its_file(pair, files) and not _finished(pair, store)]
    usable = [pair for pair in selection if pair not in waiting]
    used = [added[p.key, m] for p, m in usable if (p.key, m) in added]
    for protocol, method in usable:
        if (protocol.key, method) in added:
            submissions.refuse_changed(store, protocol, added[protocol.key, method])
    _refuse_unused(facts, usable)
    return Chosen(usable, tuple(used), files, waiting)


def _exact(pattern: str, names: Mapping[str, str]) -> str:
    """`PROTOCOL:my_method` means the method that this command line adds, hyper-parameters and all."""
    protocol, colon, method = pattern.partition(":")
    return protocol + colon + names.get(method, method)


def _facts(files: Mapping[str, Path], settings: Mapping[str, str]) -> list[PluginFacts]:
    if not files:
        return []
    from benchmark.plugins.describe import described

    return [described(path, settings) for path in files.values()]


def _added(protocol: Protocol, facts: Sequence[PluginFacts], settings: Mapping[str, str]) -> dict[str, Submission]:
    """The methods that plugins add; one may stand in for a pruner of the user's own protocol instead."""
    if not facts:
        return {}
    from benchmark.plugins.describe import overrides, submission_to

    own: dict[str, Submission] = {}
    for plugin in facts:
        if not overrides(protocol, plugin.name):
            if protocol.measures == "analysis":  # its pruning methods are only there to be looked at
                continue
            submission = submission_to(protocol, plugin)
            own[submission.name] = submission
        elif settings:
            raise BadInput("--set", f"{protocol.argument} names {plugin.name} itself", "Write its parameters there")
    return own


def _has_its_file(pair: tuple[Protocol, str], files: Mapping[str, Path]) -> bool:
    protocol, method = pair
    return method not in protocol.added or protocol.added[method].pruner in files


def _pruning_methods(selection: Selection) -> list[MethodSpec]:
    """What a selection prunes by, with what its controls and analyses rest on."""
    return [
        protocol.pruning_method(name)
        for protocol, method in selection
        if method != DENSE
        for name in behind(protocol, method)
    ]


def say_confined(selection: Selection, picked: Chosen) -> None:
    """Say how pruners are confined that are not of this repository, if there are any."""
    specs = _pruning_methods(selection)
    pruners = [locate(spec.pruner, picked.files) for spec in specs]
    hooks = [locate(spec.hook.name, picked.files, kind="hook") for spec in specs if spec.hook]
    if all(source.of_this_repository for source in (*pruners, *hooks)):
        return
    from benchmark.plugins.sandbox.confinement import describe

    click.echo(describe().sentence())


def _finished(pair: tuple[Protocol, str], store: Store) -> bool:
    return all(store.settled(pair[0], cell, retry_failed=True) for cell in cells_of(*pair))


def _refuse_unused(facts: Sequence[PluginFacts], selection: Selection) -> None:
    specs = _pruning_methods(selection)
    used = {spec.pruner for spec in specs} | {spec.hook.name for spec in specs if spec.hook}
    for plugin in facts:
        if plugin.name not in used:
            raise BadInput(
                f"plugin '{plugin.name}'",
                "no selected method uses it",
                f"Select a whole protocol, or PROTOCOL:{plugin.name}",
            )


def waiting_words(pair: tuple[Protocol, str]) -> str:
    """Why a method of an earlier run is left out."""
    protocol, method = pair
    pruner = protocol.added[method].pruner
    return f"{protocol.key} {method}: give its file again, --plugin {pruner}.py"


def waiting_entry(pair: tuple[Protocol, str], store: Store) -> dict[str, Any]:
    """Such a method in the form of `plan --json`."""
    protocol, method = pair
    seconds = [item.seconds for item in plan([pair], store)]
    cells = cells_of(protocol, method)
    return {
        "protocol": protocol.id,
        "method": method,
        "cells": len(cells),
        "left": sum(not store.settled(protocol, cell, False) for cell in cells),
        "core_seconds": round(sum(seconds), 1),
        "fits": 0,
        "skipped": waiting_words(pair),
    }
