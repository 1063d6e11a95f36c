"""A method measured on the tiny protocol and its bundle, made once; and ways to forge one that agrees with itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import asking_here
from made_once import made_once

from benchmark.harness.executors.worker import Events, Options, work
from benchmark.planning.plan import plan
from benchmark.plugins.describe import described, submission_to
from benchmark.protocols import Protocol
from benchmark.records import submissions
from benchmark.records.store import Store
from benchmark.sharing.bundle.build import Part, build
from benchmark.sharing.bundle.format import MANIFEST, facts_of, pack_files, read_files

PLUGIN = '''
"""Magnitude times gradient."""
import torch
from torch.nn.functional import cross_entropy
from benchmark.api import Pruner


class Mine(Pruner):
    needs = "labels"

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def score(self, network, examples, rng):
        gradients = network.gradients(lambda w: cross_entropy(network.logits(examples.inputs, w), examples.labels))
        scores = {name: w.abs() ** self.alpha * gradients[name].abs() for name, w in network.weights.items()}
        # HERE
        return scores
'''

Files = dict[str, bytes]
Document = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """A measured method: its plugin, its results folder, and its bundle."""

    plugin: Path
    store: Store
    part: Part
    bundle: bytes


def quiet(_step: str, _done: int, _total: int) -> None:
    """No progress."""


def measure(folder: Path, protocol: Protocol, text: str = PLUGIN) -> Made:
    """Run a plugin on a protocol as `lotterybench run --plugin` does, and bundle it as `submit` does."""
    run_plugin(folder, protocol, text)
    return bundled(folder, protocol)


def run_plugin(folder: Path, protocol: Protocol, text: str = PLUGIN) -> None:
    """The plugin `mine.py` in the folder, and its records beside dense's in `results`."""
    folder.mkdir(parents=True, exist_ok=True)
    plugin, store = folder / "mine.py", Store(folder / "results")
    plugin.write_text(text)
    with asking_here():
        submission = submission_to(protocol, described(plugin, {}))
    submissions.write(store, protocol, submission)
    wider = submissions.added_to(protocol, {submission.name: submission})
    events = Events(progress=lambda *_: None, recorded=lambda *_: None)
    selection = [(wider, "dense"), (wider, submission.name)]
    work(plan(selection, store), store, Options(plugins={"mine": plugin}), events)


def bundled(folder: Path, protocol: Protocol) -> Made:
    """What `run_plugin` left in a folder, and its bundle."""
    plugin, store = folder / "mine.py", Store(folder / "results")
    (submission,) = submissions.of_protocol(store, protocol).values()
    part = Part(submissions.added_to(protocol, {submission.name: submission}), submission)
    return Made(plugin, store, part, build([part], plugin, store, quiet))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_protocol: Protocol) -> Made:
    """An honest method."""
    return bundled(
        made_once(tmp_path_factory, "bundle", lambda folder: run_plugin(folder, tiny_protocol)), tiny_protocol
    )


@pytest.fixture
def bundle(made: Made, tmp_path: Path) -> Path:
    """Its bundle, to spoil."""
    path = tmp_path / "mine.lotterybench.zip"
    path.write_bytes(made.bundle)
    return path


def forge(
    path: Path, change: Callable[[Files], object], manifest: Callable[[Document], object] = lambda _: None
) -> None:
    """Change a bundle's files and write a manifest with right sizes and digests, as a forger with our code would."""
    files = read_files(path)[1]
    document = json.loads(files.pop(MANIFEST))
    change(files)
    document["files"] = {name: facts.model_dump() for name, facts in facts_of(files).items()}
    manifest(document)
    path.write_bytes(pack_files({MANIFEST: (json.dumps(document, indent=1) + "\n").encode(), **files}))
