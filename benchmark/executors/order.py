"""What an executor is asked to do, and what it says while it does. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from benchmark.errors import BadInput, LotterybenchError
from benchmark.plan import PlannedJob


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


@dataclass(frozen=True)
class Order:
    """The work, as every worker is told.

    `deadline`: a time.monotonic() value, the same in all processes of a machine, which no change of its clock moves.
    `seconds`: a limit that each worker counts from its own start, where it is not known when that will be. `hands`:
    workers that share the work, as far as is known.
    """

    patterns: tuple[str, ...]
    results: Path
    deadline: float | None = None
    seconds: float | None = None
    plugins: tuple[Path, ...] = ()
    retry_failed: bool = False
    like: Path | None = None
    shard: Shard | None = None
    wanted: str | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    hands: int = 1

    def arguments(self) -> list[str]:
        """Of the verb `worker`. Paths are absolute: a worker may start elsewhere."""
        parts = [*self.patterns, "--results", str(self.results.absolute())]
        parts += ["--deadline", str(self.deadline)] if self.deadline is not None else []
        parts += ["--seconds", str(self.seconds)] if self.seconds is not None else []
        parts += [part for path in self.plugins for part in ("--plugin", str(path.absolute()))]
        parts += ["--retry-failed"] if self.retry_failed else []
        parts += ["--like", str(self.like.absolute())] if self.like else []
        parts += ["--for", self.wanted] if self.wanted else []
        parts += ["--device", self.device] if self.device != "cpu" else []
        parts += ["--hands", str(self.hands)] if self.hands > 1 else []
        parts += ["--shard", str(self.shard)] if self.shard else []
        return parts


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
