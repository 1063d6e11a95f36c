"""Work off a plan in this very process: for debuggers, notebooks and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmark.harness.executors.order import Listen, Message
from benchmark.planning.plan import PlannedJob
from benchmark.planning.select import Order
from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell, density_text
from benchmark.records.schema import Record
from benchmark.records.store import Store


class InProcess:
    """One job after another, here. Returns when nothing is left or time is up."""

    def execute(self, order: Order, planned: Sequence[PlannedJob], listen: Listen) -> None:
        """See `Executor`."""
        work_here(order, planned, Store(order.results), lambda event, fields: listen(Message(0, event, fields)))


def work_here(
    order: Order, planned: Sequence[PlannedJob], store: Store, say: Callable[[str, dict[str, Any]], None]
) -> None:
    """Be a worker; `say(event, fields)` hears of evaluations and records."""
    from benchmark.harness.executors.worker import Events, Options, work
    from benchmark.plugins.registry import plugin_files

    def progress(protocol: Protocol, cell: Cell, done: int, total: int) -> None:
        say("progress", {"name": title(protocol, cell), "done": done, "total": total})

    def recorded(protocol: Protocol, cell: Cell, record: Record) -> None:
        accuracy = record.measured.value("test_accuracy") if record.measured else None
        fields: dict[str, Any] = {"status": record.status, "reason": record.reason, "accuracy": accuracy}
        fields["empty_layers"] = record.mask.collapsed_layers if record.mask else ()
        say("recorded", {"name": title(protocol, cell), **fields})

    plugins = plugin_files(order.plugins)
    options = Options(order.deadline, plugins, order.retry_failed, device=order.device, hands=order.hands)
    work(planned, store, options, Events(progress, recorded))


def title(protocol: Protocol, cell: Cell) -> str:
    """A cell in words."""
    draw = f", draw {cell.draw}" if cell.draw else ""
    return f"{protocol.id} {cell.method} at {density_text(protocol, cell.level)}, seed {cell.seed}{draw}"
