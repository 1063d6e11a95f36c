"""Plugins as text, and a session with one on a small network, for tests of isolation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmark.api import Examples, Masks
from benchmark.networks import initial_state, make
from benchmark.plugins.registry import PluginSource, locate
from benchmark.plugins.sandbox.confinement import MIB, Limits
from benchmark.plugins.sandbox.session import Session
from benchmark.protocols.levels import Level
from benchmark.protocols.methods import MethodSpec, PruningSpec
from benchmark.protocols.network import MlpSpec
from benchmark.pruning.schedule import PruneCost, cut
from benchmark.pruning.scorer import ScoredNetwork
from benchmark.utils.seeding import stream

SMALL = Limits(
    start_seconds=20.0, seconds=20.0, memory_bytes=256 * MIB, output_bytes=64 * 1024, folder_bytes=MIB, file_bytes=MIB
)
WIDTHS = (12, 16, 8, 4)
NETWORK = MlpSpec(name="mlp", initialiser="glorot-normal", bias="zeros", widths=WIDTHS)
LEVEL = Level(1, 100, 352, {"fc1": 60, "fc2": 30, "fc3": 10}, None)

TEMPLATE = """
import ctypes, os, signal, socket, subprocess, sys, threading, time
import torch
from benchmark.api import Pruner

class Mine(Pruner):
    needs = {needs!r}

    def score(self, network, examples, rng):
        scores = {{name: w.abs() for name, w in network.weights.items()}}
{body}
        return scores
"""


def plugin(folder: Path, body: str, needs: str = "nothing") -> PluginSource:
    """A file with a pruner that scores |w|, with these lines of Python before it returns `scores`."""
    lines = "\n".join(" " * 8 + line for line in body.splitlines())
    path = folder / "mine.py"
    path.write_text(TEMPLATE.format(body=lines, needs=needs))
    return locate("mine", {"mine": path})


def method(pruner: str = "mine", rounds: int = 1) -> MethodSpec:
    """Scores of initial weights, globally ranked."""
    schedule = {"rounds": rounds, "scores": "initial", "restart": 0}
    return MethodSpec.model_validate(
        {"pruner": pruner, "allocation": "global", "schedule": schedule, "levels": "all", "parameters": {}}
    )


def subject() -> ScoredNetwork:
    """The small network with initial weights."""
    module = make(NETWORK)
    state = initial_state(module, NETWORK, stream(0, "init"))
    module.load_state_dict(state)
    return ScoredNetwork(module, state, (WIDTHS[0],), WIDTHS[-1])


@contextmanager
def begun(source: PluginSource, limits: Limits = SMALL, examples: Examples | None = None) -> Iterator[Session]:
    """A session that is ready to score the small network."""
    with Session(source, {}, limits) as session:
        names = tuple(name for name in subject().state if name.endswith("weight"))
        session.begin(NETWORK, names, subject(), examples, stream(0, "prune"))
        yield session


def mask_of(source: PluginSource, pruning: PruningSpec, limits: Limits = SMALL, **rest: Any) -> tuple[Masks, PruneCost]:
    """100 of 352 weights by an isolated plugin."""
    with begun(source, limits, rest.pop("examples", None)) as session:
        return cut(session, method(**rest), pruning, LEVEL)
