"""Checkpoints of a training: everything it goes on from, every so many seconds, so that a killed one loses no more.

What is drawn at random follows from (seed, purpose, step), so weights, optimizer state and what evaluations saw are all
there is to keep, and a resumed training ends with the bits of an uninterrupted one. safetensors, never a pickle.

Checkpoints of a company: each replica in a file of its own, all after the same update.

So whoever goes on need not be the same company. See `checkpoints` for what is kept; on the CPU the bits are those of
one go, if the company is the same or its networks are forked.
"""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from benchmark.training.evaluate import Quality
from benchmark.training.optim import parameters_of, under
from benchmark.training.replicas import Team
from benchmark.training.weights import load_weights, save_weights
from benchmark.utils import signals as stopping
from benchmark.utils.errors import EnvironmentProblem

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


def _pairs(seen: Sequence[Quality]) -> Tensor:
    assert all(math.isfinite(quality.loss) for quality in seen)  # a diverged training ends at once
    rows = [[quality.loss, quality.accuracy_percent] for quality in seen]
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 2)


Kept = Mapping[str, Tensor]
RARELY = 20.0  # times as long as it takes to write them, at least, passes between two checkpoints of a company
Seen = dict[int, list[list[float]]]
"""(loss, percent) of every replica, by update."""


@dataclass
class Looked:
    """What was seen of a company up to some update, on the device. `tested`: at which updates for each replica."""

    validation: dict[int, Tensor] = field(default_factory=dict)
    test: dict[int, Tensor] = field(default_factory=dict)
    tested: list[set[int]] = field(default_factory=list)
    least: list[float] = field(default_factory=list)
    snapshots: dict[tuple[int, int], dict[str, Tensor]] = field(default_factory=dict)


class CompanyCheckpoints:
    """Of replicas that are trained side by side, each with its file. Without files nothing is kept."""

    def __init__(self, files: Sequence[Checkpoints]) -> None:
        self._files, self._saved, self._took = files, time.monotonic(), 0.0

    def offer(self, team: Team, looked: Looked, done: int, seconds: Sequence[tuple[float, float]]) -> None:
        """A safe point after `done` updates: see `Checkpoints.offer`. `seconds`: of each replica until now, and of the
        processor."""
        if not self._files:
            return
        now = time.monotonic()
        if not stopping.asked() and now - self._saved < max(self._files[0].seconds, RARELY * self._took):
            return
        for number, file in enumerate(self._files):
            file.save(_state(team, looked, number, done, seconds[number]))
        self._saved = time.monotonic()
        self._took = self._saved - now
        stopping.stop_if_asked()


def updates_behind(kept: Kept) -> int:
    """After which update it was kept."""
    return int(kept["counts"][0])


def seconds_behind(kept: Kept) -> tuple[float, float]:
    """Seconds and processor seconds that went into it."""
    _, seconds, cpu_seconds = kept["numbers"].tolist()
    return seconds, cpu_seconds


def put_back(team: Team, looked: Looked, kept: Sequence[Kept], device: torch.device) -> None:
    """Have a team and what was seen of it as they were; all were kept after the same update."""
    team.restore([{**found} for found in kept])
    for step in team.steps:
        step.tables.counter.fill_(updates_behind(kept[0]))
    for number, found in enumerate(kept):
        looked.least[number] = float(found["numbers"][0])
        looked.tested[number] = set(found["test_steps"].tolist())
        for step in found["snapshot_steps"].tolist():
            looked.snapshots[number, step] = under(f"snapshot.{step}.", found)
    for name, seen in (("validation", looked.validation), ("test", looked.test)):
        tables = [dict(zip(found[f"{name}_steps"].tolist(), found[name], strict=True)) for found in kept]
        nothing = torch.full((2,), torch.nan, dtype=torch.float64)
        for step in sorted({step for table in tables for step in table}):
            seen[step] = torch.stack([table.get(step, nothing) for table in tables]).to(device)


def _state(team: Team, looked: Looked, number: int, done: int, seconds: tuple[float, float]) -> dict[str, Tensor]:
    steps = sorted(looked.tested[number])
    snapshots = {step: kept for (owner, step), kept in looked.snapshots.items() if owner == number}
    state = {
        "counts": torch.tensor([done]),
        "numbers": torch.tensor([looked.least[number], *seconds], dtype=torch.float64),
        "validation_steps": torch.tensor(sorted(looked.validation), dtype=torch.int64),
        "validation": _rows(looked.validation, sorted(looked.validation), number),
        "test_steps": torch.tensor(steps, dtype=torch.int64),
        "test": _rows(looked.test, steps, number),
        "snapshot_steps": torch.tensor(sorted(snapshots), dtype=torch.int64),
        **team.kept(number),
    }
    for step, snapshot in snapshots.items():
        state |= {f"snapshot.{step}.{name}": tensor for name, tensor in snapshot.items()}
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}


def _rows(seen: Mapping[int, Tensor], steps: Sequence[int], number: int) -> Tensor:
    rows = [seen[step][number].cpu() for step in steps]
    return torch.stack(rows) if rows else torch.zeros((0, 2), dtype=torch.float64)
