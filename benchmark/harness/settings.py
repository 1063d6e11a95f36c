"""How a harness is to run, and what it holds between preparing a cell and recording it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmark.datasets.source import data_root
from benchmark.harness.masks import Confinement
from benchmark.protocols.cells import Cell
from benchmark.protocols.recipe import Recipe
from benchmark.pruning.interface import Masks
from benchmark.pruning.schedule import PruneCost
from benchmark.records.schema import Record
from benchmark.training.loop import Placement
from benchmark.training.replicas import Replica

Progress = Callable[[Cell, int, int, Mapping[str, float]], None]
"""Called with (cell, updates done, updates in all, what was measured), as `training.loop.Progress` is."""


@dataclass(frozen=True)
class Settings:
    """How to run. `placement`: a device and how it is shared; None is this core.

    `may_start(seconds)` says whether a training of that length still fits the budget; None: nothing ends it, and how
    long trainings take is not looked at. `second_tries`: a failure is only noted at first, and the cell left for
    another worker; see `harness.jobs`. `keep(cell)`: whether a network's final weights stay in the work folder, besides
    those that later cells start from.
    """

    data_root: Path = field(default_factory=data_root)
    plugins: Mapping[str, Path] | None = None
    retry_failed: bool = False
    second_tries: bool = False
    checkpoint_seconds: float = 60.0
    confinement: Confinement = Confinement()  # noqa: RUF009 - frozen
    placement: Placement | None = None
    keep: Callable[[Cell], bool] = lambda _cell: False
    may_start: Callable[[float], bool] | None = None
    on_progress: Progress = lambda *_: None
    on_record: Callable[[Cell, Record], None] = lambda _cell, _record: None

    def of_inner(self, keep: Collection[Cell], on_progress: Progress) -> Settings:
        """Of a harness that makes, for the cells of another one, networks of which those in `keep` stay."""
        return replace(
            self,
            second_tries=False,
            keep=keep.__contains__,
            on_progress=on_progress,
            on_record=lambda _cell, _record: None,
        )

    @property
    def device(self) -> str:
        """Where networks are trained."""
        return self.placement.device if self.placement else "cpu"


@dataclass(frozen=True)
class Prepared:
    """A cell with its mask and start, about to be trained for `steps` updates by `recipe`.

    `learns`: its scores are trained, from which a mask follows, and its weights stay.
    """

    cell: Cell
    masks: Masks
    prune_cost: PruneCost
    replica: Replica
    steps: int
    recipe: Recipe
    learns: bool = False


Experiment = Generator[Prepared | None, None, None]
"""Networks to be trained, one after another; None while another process makes what the next one needs."""
