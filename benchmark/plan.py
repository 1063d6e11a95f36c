"""Plans: protocols expanded into cells, minus what is recorded, grouped into jobs, most wanted first. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol as Interface

from benchmark.costs import CostModel
from benchmark.protocol import ControlSpec, Protocol
from benchmark.records import DENSE, Cell, Record
from benchmark.store import Store


@dataclass(frozen=True)
class Job:
    """Cells that must run in one process, in this order: a chain's levels, or a single cell."""

    protocol: Protocol
    cells: tuple[Cell, ...]

    @property
    def method(self) -> str:
        """The method all its cells belong to."""
        return self.cells[0].method

    @property
    def name(self) -> str:
        """Unique within the protocol; also the name of its lock."""
        first = self.cells[0]
        chain = f"seed-{first.seed}" if is_chain(self.protocol, first.method) else first.name
        return f"{first.method}_{chain}"


@dataclass(frozen=True)
class PlannedJob:
    """A job with the seconds it should take here on one core."""

    job: Job
    seconds: float


def is_chain(protocol: Protocol, method: str) -> bool:
    """Whether `method` needs level r - 1 before level r."""
    if method == DENSE:
        return False
    spec = protocol.method(method)
    return not isinstance(spec, ControlSpec) and spec.schedule.rounds == "levels"


def method_names(protocol: Protocol) -> list[str]:
    """Dense first, then the protocol's methods in its order, then added ones."""
    return [DENSE, *protocol.all_methods]


def cells_of(protocol: Protocol, method: str) -> list[Cell]:
    """Every cell of a method, seeds outermost."""
    if method == DENSE:
        return [Cell(DENSE, 0, seed) for seed in protocol.seeds]
    spec = protocol.method(method)
    draws = spec.draws if isinstance(spec, ControlSpec) else 1
    levels = protocol.measured_levels(method)
    return [Cell(method, lv, seed, draw) for seed in protocol.seeds for draw in range(draws) for lv in levels]


def urgency(protocol: Protocol, cell: Cell) -> tuple[bool, bool, int, int]:
    """Sort key: wanted levels, first draws, three seeds of everything, then the rest.

    Three seeds of every method decide more claims than five of the first one.
    """
    later = False
    if cell.method != DENSE:
        spec = protocol.method(cell.method)
        later = not isinstance(spec, ControlSpec) and cell.level in spec.later
    position = protocol.seeds.index(cell.seed)
    return later, cell.draw > 0, position // 3, position


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


class Order(Interface):
    """Which cells are wanted most; see `priorities`."""

    def tier(self, protocol: Protocol, cell: Cell) -> tuple[int, int]:
        """Lowest first."""
        ...

    def includes(self, protocol: Protocol, cell: Cell) -> bool:
        """Whether a cell is wanted at all."""
        ...


class AsWritten:
    """The protocol's own order."""

    def tier(self, protocol: Protocol, cell: Cell) -> tuple[int, int]:  # noqa: ARG002 - see `Order`
        """See `Order`."""
        return (0, 0)

    def includes(self, protocol: Protocol, cell: Cell) -> bool:  # noqa: ARG002 - see `Order`
        """See `Order`."""
        return True


AS_WRITTEN = AsWritten()


def jobs(
    protocol: Protocol, methods: Sequence[str], store: Store, retry_failed: bool = False, wanted: Order = AS_WRITTEN
) -> list[Job]:
    """Unfinished work of `methods`, most wanted first; failed cells count as finished unless `retry_failed`."""
    return [Job(protocol, cells) for _, cells in _ranked(protocol, methods, store, retry_failed, wanted)]


def _ranked(
    protocol: Protocol, methods: Sequence[str], store: Store, retry_failed: bool, wanted: Order
) -> list[tuple[tuple[int, int], tuple[Cell, ...]]]:
    """Cells of each job, with their tier."""
    groups: dict[tuple[tuple[int, int], tuple[bool, bool, int, int], int, tuple[int, int]], list[Cell]] = {}
    for order, method in enumerate(method_names(protocol)):
        if method not in methods:
            continue
        chain = is_chain(protocol, method)
        for cell in cells_of(protocol, method):
            if not wanted.includes(protocol, cell) or store.settled(protocol, cell, retry_failed):
                continue
            tier, rank = wanted.tier(protocol, cell), urgency(protocol, cell)
            place = (
                (0, 0) if chain or method == DENSE else (cell.draw, protocol.measured_levels(method).index(cell.level))
            )
            key = (tier, rank, order, place)
            groups.setdefault(key, []).append(cell)
    ordered = sorted(groups.items(), key=lambda item: item[0])
    return [(key[0], tuple(sorted(cells, key=lambda c: c.level))) for key, cells in ordered]


def train_steps(protocol: Protocol, cell: Cell) -> int:
    """Optimizer updates that training this cell takes; what its mask needs is not counted."""
    if cell.method == DENSE:
        return protocol.recipe.steps
    if protocol.level_table[cell.level].kept == 0:
        return 0
    schedule = protocol.pruning_method(cell.method).schedule
    if schedule.restart == "trained":
        return schedule.retrain_steps or protocol.recipe.steps
    return protocol.recipe.steps - schedule.restart


def seconds_per_step(protocol: Protocol, records: Iterable[Record]) -> float:
    """Here, from a protocol's own records; see `costs`."""
    return CostModel.learn({protocol: records}).seconds_per_step(protocol)


def plan(
    selection: Sequence[tuple[Protocol, str]],
    store: Store,
    retry_failed: bool = False,
    wanted: Order = AS_WRITTEN,
) -> list[PlannedJob]:
    """All unfinished jobs of a selection with their expected seconds: most wanted first, then protocol by protocol."""
    protocols = list(dict.fromkeys(protocol for protocol, _ in selection))
    costs = CostModel.learn({protocol: store.records(protocol) for protocol in protocols})
    planned = []
    for protocol in protocols:
        speed = costs.seconds_per_step(protocol)
        methods = [method for owner, method in selection if owner.key == protocol.key]
        for tier, cells in _ranked(protocol, methods, store, retry_failed, wanted):
            seconds = speed * sum(train_steps(protocol, cell) for cell in cells)
            planned.append((tier[0], PlannedJob(Job(protocol, cells), seconds)))
    return [item for _, item in sorted(planned, key=lambda pair: pair[0])]  # stable: else in the order above


def fitting(planned: Sequence[PlannedJob], workers: int, budget: float | None) -> list[int]:
    """How many cells of each job fit `budget` seconds when `workers` processes take jobs in order.

    A chain may be cut between two levels. The estimate is what the plan shows; the run itself looks at the clock.
    """
    if budget is None:
        return [len(item.job.cells) for item in planned]
    busy_until = [0.0] * workers
    counts = []
    for item in planned:
        worker = busy_until.index(min(busy_until))
        each = item.seconds / len(item.job.cells)
        room = len(item.job.cells) if each == 0 else int((budget - busy_until[worker]) / each)
        counts.append(max(0, min(len(item.job.cells), room)))
        busy_until[worker] += each * counts[-1]
    return counts


def only_recorded(planned: Sequence[PlannedJob], store: Store) -> list[PlannedJob]:
    """The part of a plan whose cells have a finished record in `store`: what can be checked against it."""
    kept = []
    for item in planned:
        cells = tuple(c for c in item.job.cells if _finished(store, item.job.protocol, c))
        if cells:
            kept.append(PlannedJob(Job(item.job.protocol, cells), item.seconds * len(cells) / len(item.job.cells)))
    return kept


def _finished(store: Store, protocol: Protocol, cell: Cell) -> bool:
    record = store.read(protocol, cell)
    return record is not None and record.status == "finished"
