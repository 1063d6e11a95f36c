"""What an executor is asked to do and says while it does; the one that works in this very process. No torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from typing import Protocol as Interface
from uuid import uuid4

from pydantic import ValidationError

from benchmark import protocols
from benchmark.planning.plan import Job, PlannedJob
from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell, density_text
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.records.submissions import with_submissions
from benchmark.tasks import load_task
from benchmark.utils.errors import BadInput, LotterybenchError
from benchmark.utils.files import MIB, read_limited, write_atomically
from benchmark.utils.strict_model import Frozen

LONGEST_PLAN = 256 * MIB  # 10,000 jobs take 2 MB


@dataclass(frozen=True)
class WorkOrder:
    """What every worker is given: the jobs in the order in which they are wanted, and how to work.

    `deadline`: a time.monotonic() value, the same in all processes of a machine, which no change of its clock moves.
    `seconds`: the whole budget. Without a deadline each worker counts it from its own start, where it is not known when
    that will be. `workers` share the work, as far as is known.
    """

    planned: tuple[PlannedJob, ...]
    results: Path
    deadline: float | None = None
    seconds: float | None = None
    plugins: tuple[Path, ...] = ()
    retry_failed: bool = False
    device: Literal["cpu", "cuda"] = "cpu"
    workers: int = 1

    def save(self, path: Path) -> None:
        """Write the order into a file that a worker on another machine can read: paths are absolute."""
        known = {item.job.protocol.key: item.job.protocol for item in self.planned}
        keys = {key: number for number, key in enumerate(known)}
        document = _Document(
            protocols=tuple(_Reference(_named(protocol), protocol.digest) for protocol in known.values()),
            jobs=tuple(
                _PlannedCells(
                    keys[item.job.protocol.key],
                    item.job.method,
                    tuple((cell.level, cell.seed, cell.draw) for cell in item.job.cells),
                    item.seconds,
                    item.tier,
                )
                for item in self.planned
            ),
            results=str(self.results.absolute()),
            deadline=self.deadline,
            seconds=self.seconds,
            plugins=tuple(str(plugin.absolute()) for plugin in self.plugins),
            retry_failed=self.retry_failed,
            device=self.device,
            workers=self.workers,
        )
        write_atomically(path, document.model_dump_json().encode(), Store(self.results).work)

    @staticmethod
    def load(path: Path) -> WorkOrder:
        """Read an order. Raises BadInput if it is none, or if a protocol is another one by now."""
        try:
            document = _Document.model_validate_json(read_limited(path, LONGEST_PLAN))
        except ValidationError as error:
            raise BadInput(
                str(path), "is no plan of this version", "Run `lotterybench run`, which writes it"
            ) from error
        store = Store(Path(document.results))
        known = [with_submissions(store, _load(reference, path)) for reference in document.protocols]
        return WorkOrder(
            tuple(item.planned(known) for item in document.jobs),
            store.root,
            document.deadline,
            document.seconds,
            tuple(Path(plugin) for plugin in document.plugins),
            document.retry_failed,
            document.device,
            document.workers,
        )

    def deadline_here(self) -> float | None:
        """The deadline of a worker that starts now."""
        if self.deadline is not None or self.seconds is None:
            return self.deadline
        return time.monotonic() + self.seconds


def plan_path(store: Store) -> Path:
    """Where this process writes an order for its workers."""
    return store.work / "plans" / f"{uuid4().hex}.json"  # machines that share the folder have the same process ids


@dataclass(frozen=True)
class _Reference:
    """A protocol by its id or the path of its file."""

    argument: str
    digest: str


@dataclass(frozen=True)
class _PlannedCells:
    protocol: int
    method: str
    cells: tuple[tuple[int, int, int], ...]  # level, seed, draw
    seconds: float
    tier: int

    def planned(self, known: list[Protocol]) -> PlannedJob:
        cells = tuple(Cell(self.method, level, seed, draw) for level, seed, draw in self.cells)
        return PlannedJob(Job(known[self.protocol], cells), self.seconds, self.tier)


class _Document(Frozen):
    """An order as a file holds it."""

    protocols: tuple[_Reference, ...]
    jobs: tuple[_PlannedCells, ...]
    results: str
    deadline: float | None
    seconds: float | None
    plugins: tuple[str, ...]
    retry_failed: bool
    device: Literal["cpu", "cuda"]
    workers: int


def _named(protocol: Protocol) -> str:
    argument = protocol.argument
    return str(Path(argument).absolute()) if argument.endswith((".yaml", ".yml")) else argument


def _load(reference: _Reference, path: Path) -> Protocol:
    is_file = reference.argument.endswith((".yaml", ".yml"))
    protocol = protocols.load_file(Path(reference.argument)) if is_file else protocols.load(reference.argument)
    if protocol.digest != reference.digest:
        raise BadInput(str(path), f"was made for another {protocol.key}", "Run the same command again to plan anew")
    return protocol


@dataclass(frozen=True)
class Message:
    """One thing a worker says: `event` started, progress, recorded, done or error, with its fields."""

    worker: int
    event: str
    fields: dict[str, Any]


Listen = Callable[[Message], None]


class WorkerFailed(LotterybenchError):
    """A worker ended with an error of its own; `exit_code` is the worker's."""

    def __init__(self, worker: int, text: str, exit_code: int) -> None:
        super().__init__(f"worker {worker}", text, "Finished cells are kept; run the same command again to go on")
        self.exit_code = exit_code


class Executor(Interface):
    """A place where work is done. All share the results folder, or a shard has one of its own."""

    def execute(self, order: WorkOrder, listen: Listen) -> None:
        """Have an order worked off, and tell `listen`; see each for when it returns.

        Raises LotterybenchError if a worker failed; what was finished is kept.
        """
        ...


class InProcess:
    """One job after another, here: for debuggers, notebooks and tests. Returns when nothing is left or time is up."""

    def execute(self, order: WorkOrder, listen: Listen) -> None:
        """See `Executor`."""
        work_here(order, lambda event, fields: listen(Message(0, event, fields)))


def work_here(order: WorkOrder, say: Callable[[str, dict[str, Any]], None]) -> None:
    """Be a worker; `say(event, fields)` hears of evaluations and records."""
    from benchmark.harness.executors.worker import Events, Options, work
    from benchmark.plugins.registry import plugin_files

    def progress(protocol: Protocol, cell: Cell, done: int, total: int, latest: Mapping[str, float]) -> None:
        words = latest_words(protocol, latest)
        say("progress", {"name": title(protocol, cell), "done": done, "total": total, "latest": words})

    def recorded(protocol: Protocol, cell: Cell, record: Record) -> None:
        say("recorded", recorded_fields(protocol, cell, record))

    plugins = plugin_files(order.plugins)
    options = Options(
        order.deadline_here(), order.seconds, plugins, order.retry_failed, device=order.device, workers=order.workers
    )
    work(order.planned, Store(order.results), options, Events(progress, recorded))


def recorded_fields(protocol: Protocol, cell: Cell, record: Record) -> dict[str, Any]:
    """What the message `recorded` says of a record."""
    return {
        "name": title(protocol, cell),
        "status": record.status,
        "reason": record.reason,
        "accuracy": record.measured.value("test_accuracy") if record.measured else None,
        "empty_layers": record.mask.collapsed_layers if record.mask else (),
        "numbers": _number_words(protocol, record),
    }


def _number_words(protocol: Protocol, record: Record) -> str:
    """What an analysis found, in words: the numbers that the protocol has margins for, or else the first."""
    found = record.analysed or {}
    wanted = [name for name in protocol.statistics.margins.analysed if name in found] or list(found)[:1]
    return ", ".join(f"{name.replace('_', ' ')} {found[name].value:.4g} {found[name].unit}" for name in wanted)


def latest_words(protocol: Protocol, latest: Mapping[str, float]) -> str:
    """The latest value of the metric that people follow: an accuracy where the task has one, else its first metric.

    `latest`: see `benchmark.training.evaluate.Observed.latest`. Of the validation set if there is one, as that is
    looked at every time.
    """
    metrics = load_task(protocol.task).metric
    name = "accuracy" if "accuracy" in metrics else next(iter(metrics))
    for examples in ("validation", "test"):
        if (value := latest.get(f"{examples}_{name}")) is not None:
            unit = metrics[name].unit
            return f"{examples} {name} {value:.2f} %" if unit == "percent" else f"{examples} {name} {value:.4g} {unit}"
    return ""


def title(protocol: Protocol, cell: Cell) -> str:
    """A cell in words."""
    draw = f", draw {cell.draw}" if cell.draw else ""
    return f"{protocol.id} {cell.method} at {density_text(protocol, cell.level)}, seed {cell.seed}{draw}"
