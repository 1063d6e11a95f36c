"""What an executor is asked to do, and what it says while it does. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from benchmark.planning.plan import PlannedJob
from benchmark.planning.select import Order
from benchmark.utils.errors import LotterybenchError


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


class Executor(Protocol):
    """A place where work is done. All share the results folder, or a shard has one of its own."""

    def execute(self, order: Order, planned: Sequence[PlannedJob], listen: Listen) -> None:
        """Have `planned`, which is what `order` means now, worked off, and tell `listen`; see each for when it returns.

        Raises LotterybenchError if a worker failed; what was finished is kept.
        """
        ...
