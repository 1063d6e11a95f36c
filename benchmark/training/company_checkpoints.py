"""Checkpoints of a company: each replica in a file of its own, all after the same update.

So whoever goes on need not be the same company. See `checkpoints` for what is kept; on the CPU the bits are those of
one go, if the company is the same or its networks are forked.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmark import stopping
from benchmark.training.checkpoints import Checkpoints, under
from benchmark.training.teams import Team

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
