"""How a harness is to run, and what it hands to the training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.datasets.source import data_root
from benchmark.plugins.sandbox.confinement import Limits
from benchmark.protocols.cells import Cell
from benchmark.pruning.interface import Masks
from benchmark.pruning.schedule import PruneCost
from benchmark.records.schema import Record
from benchmark.training.loop import Placement
from benchmark.training.replicas import Replica


@dataclass(frozen=True)
class Settings:
    """How to run. `placement`: a device and how it is shared; None is this core.

    `may_start(seconds)` says whether a training of that length still fits the budget. `second_tries`: a failure is only
    noted at first, and the cell left for another worker; see `harness.job_lock`.
    """

    data_root: Path = field(default_factory=data_root)
    plugins: Mapping[str, Path] | None = None
    retry_failed: bool = False
    second_tries: bool = False
    checkpoint_seconds: float = 60.0
    limits: Limits = Limits()  # noqa: RUF009 - frozen
    placement: Placement | None = None
    may_start: Callable[[float], bool] = lambda _seconds: True
    on_progress: Callable[[Cell, int, int], None] = lambda _cell, _done, _total: None
    on_record: Callable[[Cell, Record], None] = lambda _cell, _record: None


@dataclass(frozen=True)
class Ready:
    """A cell with its mask and start, about to be trained for `steps` updates."""

    cell: Cell
    masks: Masks
    prune_cost: PruneCost
    replica: Replica
    steps: int
