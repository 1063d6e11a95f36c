"""Which cells a plan is for, and which of them first; `priorities` answers from the claims. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Protocol as Interface

from benchmark.protocols.methods import ControlSpec
from benchmark.protocols.protocol import Protocol


def title(cell: Cell) -> str:
    """A cell in words."""
    return f"{cell.method} level {cell.level}, seed {cell.seed}"


def is_chain(protocol: Protocol, method: str) -> bool:
    """Whether `method` needs level r - 1 before level r."""
    if method == DENSE:
        return False
    spec = protocol.method(method)
    return not isinstance(spec, ControlSpec) and spec.schedule.rounds == "levels"


def shares_work(protocol: Protocol, method: str) -> bool:
    """Whether the levels of a seed belong in one job: a chain, or masks cut from one set of scores."""
    if is_chain(protocol, method):
        return True
    spec = None if method == DENSE else protocol.method(method)
    return spec is not None and not isinstance(spec, ControlSpec) and spec.schedule.scored == "once-for-all-levels"


def method_names(protocol: Protocol) -> list[str]:
    """Dense first, if networks are trained, then the protocol's methods in its order, then added ones."""
    return [DENSE, *protocol.all_methods] if protocol.trains else [*protocol.all_methods]


@cache
def cells_of(protocol: Protocol, method: str) -> tuple[Cell, ...]:
    """Every cell of a method, seeds outermost."""
    if method == DENSE:
        return tuple(Cell(DENSE, 0, seed) for seed in protocol.seeds)
    spec = protocol.method(method)
    draws = spec.draws if isinstance(spec, ControlSpec) else 1
    levels = protocol.measured_levels(method)
    return tuple(Cell(method, lv, seed, draw) for seed in protocol.seeds for draw in range(draws) for lv in levels)


def select(protocols: Iterable[Protocol], only: Sequence[str]) -> list[tuple[Protocol, str]]:
    """(protocol, method) pairs that match a pattern `<protocol>` or `<protocol>:<method>`; none given = all."""
    pairs = [(protocol, method) for protocol in protocols for method in method_names(protocol)]
    if not only:
        return pairs
    return [
        (protocol, method)
        for protocol, method in pairs
        if any(fnmatchcase(protocol.id, p) or fnmatchcase(f"{protocol.id}:{method}", p) for p in only)
    ]


def train_steps(protocol: Protocol, cell: Cell) -> int:
    """Optimizer updates that training this cell takes; what its mask needs is not counted."""
    if not protocol.trains:
        return 0
    if cell.method == DENSE:
        return protocol.recipe.steps
    if protocol.level_table[cell.level].kept == 0:
        return 0
    schedule = protocol.pruning_method(cell.method).schedule
    if schedule.restart == "trained":
        return schedule.retrain_steps or protocol.recipe.steps
    return protocol.recipe.steps - schedule.restart


DENSE = "dense"


@dataclass(frozen=True, order=True)
class Cell:
    """One trained network of a protocol. `draw` counts a control's independent repetitions."""

    method: str
    level: int
    seed: int
    draw: int = 0

    @property
    def name(self) -> str:
        """File name without extension, unique within the method's folder."""
        return f"level-{self.level:02d}_seed-{self.seed}" + (f"_draw-{self.draw}" if self.draw else "")


class Purpose(Interface):
    """Which cells are wanted most; see `priorities`."""

    def tier(self, protocol: Protocol, cell: Cell, /) -> tuple[int, int]:
        """Lowest first."""

    def includes(self, protocol: Protocol, cell: Cell, /) -> bool:
        """Whether a cell is wanted at all."""


class _AsWritten:
    """The protocol's own order."""

    def tier(self, _protocol: Protocol, _cell: Cell) -> tuple[int, int]:
        """See `Purpose`."""
        return (0, 0)

    def includes(self, _protocol: Protocol, _cell: Cell) -> bool:
        """See `Purpose`."""
        return True


AS_WRITTEN = _AsWritten()
