"""Checkpoints of a training: everything it goes on from, every so many seconds, so that a killed one loses no more.

What is drawn at random follows from (seed, purpose, step), so weights, optimizer state and what evaluations saw are all
there is to keep, and a resumed training ends with the bits of an uninterrupted one. safetensors, never a pickle.
"""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from benchmark import stopping
from benchmark.errors import EnvironmentProblem
from benchmark.training.evaluation import Quality
from benchmark.weights import load_weights, save_weights

FORMAT = 1


class Resumable(Protocol):
    """What of a training in progress is kept."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    steps: list[int]
    validation: list[Quality]
    test_steps: list[int]
    test: list[Quality]
    snapshots: dict[int, dict[str, Tensor]]
    least_loss: float
    updates: int
    examples: int
    earlier: tuple[float, float]
    """Seconds and processor seconds that went into the training before it was resumed."""


class Checkpoints:
    """Of one training, in one file. `of` names all that it depends on; a file about anything else is not read."""

    def __init__(
        self, path: Path, work: Path, of: str, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._work, self.seconds, self._clock = path, work, seconds, clock
        self._of = torch.frombuffer(bytearray(of.encode()), dtype=torch.uint8)
        self._saved = self._started = clock()
        self._cpu_started = time.process_time()

    def resume(self, run: Resumable) -> int | None:
        """Put a kept training into `run`, and say how many updates it has behind it; None if there is none."""
        found = self.load()
        if found is None:
            return None
        done, run.updates, run.examples = (int(n) for n in found["counts"])
        run.least_loss, seconds, cpu_seconds = (float(x) for x in found["numbers"])
        run.earlier = (seconds, cpu_seconds)
        run.module.load_state_dict(under("module.", found))
        for number, parameter in enumerate(parameters_of(run.optimizer)):
            run.optimizer.state[parameter] = under(f"optimizer.{number}.", found)
        run.steps[:], run.test_steps[:] = found["steps"].tolist(), found["test_steps"].tolist()
        run.validation[:] = [Quality(*pair) for pair in found["validation"].tolist()]
        run.test[:] = [Quality(*pair) for pair in found["test"].tolist()]
        for step in found["snapshot_steps"].tolist():
            run.snapshots[step] = under(f"snapshot.{step}.", found)
        return done

    def load(self) -> dict[str, Tensor] | None:
        """What was kept of this very training; None if nothing was."""
        found = load_weights(self._path)
        return found if found is not None and torch.equal(found.get("of", torch.zeros(0)), self._of) else None

    def save(self, state: Mapping[str, Tensor]) -> None:
        """Keep a training. Where it cannot be written it goes on without: the disk may have room when its record is
        due."""
        try:
            save_weights(self._path, {**state, "of": self._of}, self._work)
        except EnvironmentProblem as problem:
            warnings.warn(f"A checkpoint was left out. {problem}", stacklevel=2)

    def offer(self, run: Resumable, done: int) -> None:
        """A safe point after `done` updates: keep the training if it is time to. Raises SystemExit if asked to stop."""
        if not stopping.asked() and self._clock() - self._saved < self.seconds:
            return
        self.save(self._state(run, done))
        self._saved = self._clock()
        stopping.stop_if_asked()

    def _state(self, run: Resumable, done: int) -> dict[str, Tensor]:
        seconds = run.earlier[0] + self._clock() - self._started
        cpu_seconds = run.earlier[1] + time.process_time() - self._cpu_started
        state = {
            "counts": torch.tensor([done, run.updates, run.examples]),
            "numbers": torch.tensor([run.least_loss, seconds, cpu_seconds], dtype=torch.float64),
            "steps": torch.tensor(run.steps, dtype=torch.int64),
            "test_steps": torch.tensor(run.test_steps, dtype=torch.int64),
            "validation": _pairs(run.validation),
            "test": _pairs(run.test),
            "snapshot_steps": torch.tensor(sorted(run.snapshots), dtype=torch.int64),
            **{f"module.{name}": tensor for name, tensor in run.module.state_dict().items()},
        }
        for number, parameter in enumerate(parameters_of(run.optimizer)):
            kept = run.optimizer.state.get(parameter, {})
            state |= {f"optimizer.{number}.{name}": t for name, t in kept.items() if isinstance(t, Tensor)}
        for step, snapshot in run.snapshots.items():
            state |= {f"snapshot.{step}.{name}": tensor for name, tensor in snapshot.items()}
        return {name: tensor.detach().clone() for name, tensor in state.items()}


def digest_of(words: Sequence[str], *states: Mapping[str, Tensor]) -> str:
    """sha256 of what a training depends on: words that name it, and the bytes of its masks and first weights."""
    found = hashlib.sha256("\0".join([str(FORMAT), *words]).encode())
    for state in states:
        for name in sorted(state):
            found.update(name.encode())
            found.update(state[name].detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Everything that an optimizer updates, in its order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def under(prefix: str, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of a file whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in found.items() if name.startswith(prefix)}


def _pairs(seen: Sequence[Quality]) -> Tensor:
    assert all(math.isfinite(quality.loss) for quality in seen)  # a diverged training ends at once
    rows = [[quality.loss, quality.accuracy_percent] for quality in seen]
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 2)
