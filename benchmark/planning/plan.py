"""Plans: protocols expanded into cells, minus what is recorded, grouped into jobs, most wanted first. No torch."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import median
from typing import Self

from benchmark.planning.cost import FLOPS_PER_SECOND, CostModel, assumed, this_device, training_seconds, training_work
from benchmark.planning.savings import density_of
from benchmark.protocols import Protocol
from benchmark.protocols.cells import (
    DENSE,
    PROTOCOL_ORDER,
    Cell,
    Priority,
    cells_of,
    is_chain,
    learning_steps,
    method_names,
    shares_work,
    train_steps,
)
from benchmark.protocols.methods import ControlSpec, MethodSpec
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.utils.errors import BadInput


def speed_from(
    planned: Sequence[PlannedJob], store: Store, costs: CostModel | None = None, device: str | None = None
) -> list[PlannedJob]:
    """The same plan with expected seconds from the records of `store`, the folder that has some."""
    expected: dict[str, Callable[[Sequence[Cell]], float]] = {}
    timed = []
    for item in planned:
        protocol = item.job.protocol
        if protocol.key not in expected:
            expected[protocol.key] = expected_seconds(protocol, store.records(protocol), costs, device)
        timed.append(replace(item, seconds=expected[protocol.key](item.job.cells)))
    return timed


@dataclass(frozen=True)
class Job:
    """Cells that must run in one process, in this order: a chain's levels, levels scored once, or a single cell."""

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
        return f"{first.method}_{f'seed-{first.seed}' if shares_work(self.protocol, first.method) else first.name}"


@dataclass(frozen=True)
class PlannedJob:
    """A job with the seconds it should take of a core here, or of a GPU. `tier`: how much wanted, lowest first."""

    job: Job
    seconds: float
    tier: int = 0


def _later(protocol: Protocol, method: str) -> tuple[int, ...]:
    spec = None if method == DENSE else protocol.method(method)
    return spec.later if isinstance(spec, MethodSpec) else ()


def jobs(
    protocol: Protocol,
    methods: Sequence[str],
    store: Store,
    retry_failed: bool = False,
    wanted: Mapping[str, int] | None = None,
) -> list[Job]:
    """Unfinished work of `methods`, most wanted first; failed cells count as finished unless `retry_failed`.

    `wanted`: method -> further seeds that decide an open claim on it. Among cells as urgent, down to the group of three
    seeds, those that decide with fewer seeds come first.
    """
    done = _settled(store.records(protocol), retry_failed)
    return [Job(protocol, cells) for _, cells in _ranked(protocol, methods, done, wanted or {}, PROTOCOL_ORDER)]


def _settled(records: Iterable[Record], retry_failed: bool) -> set[tuple[str, int, int, int]]:
    """(method, level, seed, draw) of every cell of which nothing is left to do."""
    return {
        (r.method.name, r.cell.level, r.cell.seed, r.cell.draw)
        for r in records
        if r.status == "finished" or not retry_failed
    }


def _ranked(
    protocol: Protocol,
    methods: Collection[str],
    done: Collection[tuple[str, int, int, int]],
    wanted: Mapping[str, int],
    priority: Priority,
) -> list[tuple[tuple[int, int], tuple[Cell, ...]]]:
    """Cells of each job, with their tier. Among cells of a tier: wanted levels, first draws, three seeds of everything,
    then the rest: three seeds of every method decide more claims than five of the first one.
    """
    groups: dict[tuple[tuple[int, int], tuple[int, ...], int, tuple[int, int]], list[Cell]] = {}
    for order, method in enumerate(method_names(protocol)):
        if method not in methods:
            continue
        alone = method != DENSE and not shares_work(protocol, method)
        places = {level: place for place, level in enumerate(protocol.measured_levels(method))} if alone else {}
        later, fewest = frozenset(_later(protocol, method)), wanted.get(method, sys.maxsize)
        for cell in cells_of(protocol, method):
            if (method, cell.level, cell.seed, cell.draw) in done or not priority.includes(protocol, cell):
                continue
            position = protocol.seed_positions[cell.seed]
            rank = (cell.level in later, cell.draw > 0, position // 3, fewest, position)
            key = (priority.tier(protocol, cell), rank, order, (cell.draw, places[cell.level]) if alone else (0, 0))
            groups.setdefault(key, []).append(cell)
    return [(key[0], tuple(sorted(groups[key], key=lambda c: c.level))) for key in sorted(groups)]


def expected_seconds(
    protocol: Protocol, records: Sequence[Record], costs: CostModel | None = None, device: str | None = None
) -> Callable[[Sequence[Cell]], float]:
    """How long cells of a protocol should take on one core, from its records, else from the size of the network.

    Where nothing is trained it is the masks that take time; levels cut from one set of scores take it once. An analysis
    takes as long as its records say, or else as a training of its own and those behind its network. `costs`: a model
    that has seen more than these records. `device`: another than this core, as records name it; of a GPU, what a cell
    takes of it in company.
    """
    if protocol.measures == "analysis":
        return _analysis_seconds(protocol, records, device)
    costs = costs or CostModel.learn({protocol: records})
    speed, learning = costs.share(protocol, device), costs.learning_seconds_per_step(protocol, device)
    saving = costs.saving(protocol, device)
    taken: dict[str, list[float]] = {}
    for record in records:
        if not protocol.trains and record.cost:
            taken.setdefault(record.method.name, []).append(record.cost.prune_seconds)

    @cache
    def trained(method: str, level: int) -> float:
        cell = Cell(method, level, 0)  # a control takes the mask that its parent has learned
        own = method != DENSE and not isinstance(protocol.method(method), ControlSpec)
        part = saving.at(density_of(protocol, method, level))
        return speed * part * train_steps(protocol, cell) + (learning * learning_steps(protocol, cell) if own else 0.0)

    def seconds(cells: Sequence[Cell]) -> float:
        if protocol.trains:
            return sum(trained(cell.method, cell.level) for cell in cells)
        each = {cell.method: _mask_seconds(protocol, cell.method, taken.get(cell.method, [])) for cell in cells}
        masks = {(c.method, c.seed, 0 if shares_work(protocol, c.method) else c.level) for c in cells}
        return sum(each[method] for method, _, _ in sorted(masks))  # sums of one order: sets have none

    return seconds


def _analysis_seconds(
    protocol: Protocol, records: Sequence[Record], device: str | None
) -> Callable[[Sequence[Cell]], float]:
    """Of analyses: what their records say, by method; else a training of their own beside those of the network that
    they look at, or one pass over the weights."""
    taken: dict[str, list[float]] = {}
    for record in records:
        if record.cost:
            taken.setdefault(record.method.name, []).append(training_seconds(record.cost, record.provenance.device))
    each = {method: median(seconds) for method, seconds in taken.items()}
    update = assumed(protocol.examined, device or this_device())
    one_pass = 3000 * sum(protocol.pruning.layer_sizes.values()) / FLOPS_PER_SECOND

    def seconds(cell: Cell) -> float:
        if cell.method in each:
            return each[cell.method]
        return update * (protocol.recipe.steps + _updates_behind(protocol, cell)) if update else one_pass

    return lambda cells: sum(seconds(cell) for cell in cells)


def _updates_behind(protocol: Protocol, cell: Cell) -> int:
    """Of weights and of scores, that an analysis's network and its mask have behind them."""
    examined, of = protocol.examined, protocol.analyses[cell.method].of
    if of is None or cell.level == 0:
        return protocol.recipe.steps
    levels = range(1, cell.level + 1) if is_chain(examined, of) else (cell.level,)
    dense = protocol.recipe.steps if examined.pruning_method(of).schedule.scores == "trained" else 0
    pruned = sum(train_steps(examined, Cell(of, level, cell.seed)) for level in levels)
    return dense + pruned + learning_steps(examined, Cell(of, cell.level, cell.seed))


def _mask_seconds(protocol: Protocol, method: str, taken: Sequence[float]) -> float:
    if taken:
        return median(taken)
    rounds = protocol.pruning_method(method).schedule.rounds
    weights = sum(protocol.pruning.layer_sizes.values())
    work = 6 * protocol.network.multiply_adds + 3000 * weights  # one example; moving and ranking scores, 0.1 us each
    return (rounds if isinstance(rounds, int) else 1) * work / FLOPS_PER_SECOND


def plan(
    selection: Sequence[tuple[Protocol, str]],
    store: Store,
    retry_failed: bool = False,
    wanted: Mapping[str, Mapping[str, int]] | None = None,
    priority: Priority = PROTOCOL_ORDER,
    device: str = "cpu",
) -> list[PlannedJob]:
    """All unfinished jobs of a selection with their expected seconds: most wanted first, then small trainings before
    large ones, which would take any budget, protocol by protocol.

    `wanted`: of each protocol id, see `jobs`. `priority`: see there. `device`: cpu or cuda.
    """
    methods_of: dict[Protocol, list[str]] = {}
    for protocol, method in selection:
        methods_of.setdefault(protocol, []).append(method)
    records = {protocol: store.records(protocol) for protocol in methods_of}
    costs, place = CostModel.learn(records), this_device(device)
    planned = list[PlannedJob]()
    for protocol, own in records.items():
        expected = expected_seconds(protocol, own, costs, place)
        done = _settled(own, retry_failed)
        for tier, cells in _ranked(protocol, methods_of[protocol], done, (wanted or {}).get(protocol.id, {}), priority):
            planned.append(PlannedJob(Job(protocol, cells), expected(cells), tier[0]))
    # Stable: else in the order above.
    ordered = sorted(planned, key=lambda item: (item.tier, training_work(item.job.protocol)))
    return sources_first(ordered)


def sources_first(planned: Sequence[PlannedJob]) -> list[PlannedJob]:
    """The same jobs, what others take masks from in front of these, and as much wanted as they are.

    A worker that comes to a target first makes its source then; this order makes sources where all workers share them.
    """
    tiers: dict[str, int] = {}  # by the key of a source
    for item in planned:
        for source in item.job.protocol.mask_sources.values():
            tiers[source.key] = min(item.tier, tiers.get(source.key, item.tier))
    if not tiers:
        return list(planned)
    raised = [replace(i, tier=min(i.tier, tiers.get(i.job.protocol.key, i.tier))) for i in planned]
    return sorted(raised, key=lambda item: (item.tier, bool(item.job.protocol.mask_sources)))


def only_recorded(planned: Sequence[PlannedJob], store: Store) -> list[PlannedJob]:
    """The part of a plan whose cells have a finished record in `store`: what can be checked against it."""
    own = [(item, [c for c in item.job.cells if _finished(store, item.job.protocol, c)]) for item in planned]
    return [kept for item, cells in own if (kept := with_cells(item, cells))]


def with_cells(item: PlannedJob, cells: Sequence[Cell]) -> PlannedJob | None:
    """A job with some of its cells, and its seconds in proportion; None without any."""
    if not cells:
        return None
    if len(cells) == len(item.job.cells):
        return item
    seconds = item.seconds * len(cells) / len(item.job.cells)
    return replace(item, job=Job(item.job.protocol, tuple(cells)), seconds=seconds)


def _finished(store: Store, protocol: Protocol, cell: Cell) -> bool:
    record = store.read(protocol, cell)
    return record is not None and record.status == "finished"


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count`, from 1: for machines that share no folder, or to split work by hand."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `2/8`. Raises BadInput."""
        left, slash, right = text.partition("/")
        if not (slash and left.isdecimal() and right.isdecimal() and 1 <= int(left) <= int(right)):
            raise BadInput(f"--shard {text}", "is not NUMBER/COUNT", "Write 1/8 to 8/8 for eight shards")
        return cls(int(left), int(right))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def part(planned: Sequence[PlannedJob], selection: Sequence[tuple[Protocol, str]], shard: Shard) -> list[PlannedJob]:
    """The jobs of a plan that belong to a shard.

    All jobs of the selection, finished ones included, are dealt out: the longest first, each to the shard that has
    least so far. What is measured already therefore moves no job to another shard.
    """
    weights: Counter[tuple[str, str]] = Counter()
    for protocol, method in selection:
        one = protocol.network.multiply_adds * protocol.recipe.batch_size
        for cell in cells_of(protocol, method):
            weights[protocol.key, Job(protocol, (cell,)).name] += one * (
                train_steps(protocol, cell) + learning_steps(protocol, cell)
            )
    loads = [0] * shard.count
    mine = set()
    for name, weight in sorted(weights.items(), key=lambda item: (-item[1], item[0])):
        least = loads.index(min(loads))
        loads[least] += weight
        if least == shard.number - 1:
            mine.add(name)
    return [item for item in planned if (item.job.protocol.key, item.job.name) in mine]
