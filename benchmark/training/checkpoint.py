"""Checkpoints of a training: everything it goes on from, every so many seconds, so that a killed one loses no more.

What is drawn at random follows from (seed, purpose, step), so weights, optimizer state and what evaluations measured
are all there is to save, and a resumed training ends with the bits of an uninterrupted one. Each replica has a file of
its own, in one format whatever the group it is trained in, so whoever goes on need not have the same neighbours.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from benchmark.utils import signals
from benchmark.utils.errors import EnvironmentProblem
from benchmark.utils.files import write_atomically

FORMAT = 2
RARELY = 20.0  # times as long as it takes to write them, at least, passes between two checkpoints of a group


class CheckpointFile:
    """One replica's file. `of` names all that its training depends on; a file about anything else is not read.

    `seconds`: between two checkpoints, 0 for one at every chance.
    """

    def __init__(self, path: Path, work: Path, of: str, seconds: float) -> None:
        self._path, self._work, self.seconds = path, work, seconds
        self._of = torch.frombuffer(bytearray(of.encode()), dtype=torch.uint8)

    def load(self) -> dict[str, Tensor] | None:
        """What was saved of this very training; None if nothing was."""
        found = load_weights(self._path)
        return found if found is not None and torch.equal(found.get("of", torch.zeros(0)), self._of) else None

    def save(self, state: Mapping[str, Tensor]) -> None:
        """Write a state. Where that fails the training goes on without: the disk may have room when its record is
        due."""
        try:
            save_weights(self._path, {**state, "of": self._of}, self._work)
        except EnvironmentProblem as problem:
            warnings.warn(f"A checkpoint was left out. {problem}", stacklevel=2)


class Checkpoints:
    """When the replicas of a group are saved, all after the same update. Without files nothing is."""

    def __init__(self, files: Sequence[CheckpointFile]) -> None:
        self._files, self._saved, self._took = files, time.monotonic(), 0.0

    def offer(self, state: Callable[[int], Mapping[str, Tensor]]) -> None:
        """A safe point: save if it is time to. `state`: what is to be saved of a replica, by number.

        Raises SystemExit if the process was asked to stop.
        """
        if not self._files:
            return
        now, seconds = time.monotonic(), self._files[0].seconds
        if not signals.asked() and seconds > 0 and now - self._saved < max(seconds, RARELY * self._took):
            return
        for number, file in enumerate(self._files):
            file.save({name: tensor.detach().to("cpu", copy=True) for name, tensor in state(number).items()})
        self._saved = time.monotonic()
        self._took = self._saved - now
        signals.stop_if_asked()


def updates_done(saved: Mapping[str, Tensor]) -> int:
    """After which update a state was saved."""
    return int(saved["done"][0])


def digest_of(words: Sequence[str], *states: Mapping[str, Tensor]) -> str:
    """sha256 of what a training depends on: words that name it, and the bytes of its masks and first weights."""
    digest = hashlib.sha256("\0".join([str(FORMAT), *words]).encode())
    for state in states:
        for name in sorted(state):
            digest.update(name.encode())
            digest.update(state[name].detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_weights(path: Path, state: dict[str, Tensor], work: Path) -> None:
    """Write a state whole or not at all."""
    write_atomically(path, save({name: tensor.contiguous() for name, tensor in state.items()}), work)


def load_weights(path: Path) -> dict[str, Tensor] | None:
    """The state at `path`; None if there is none or it is damaged, because it can always be made again."""
    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError, OverflowError):
        return None  # KeyError and the like: types and shapes that safetensors lets pass and torch does not know
