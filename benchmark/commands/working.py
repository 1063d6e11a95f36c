"""What `run` and the workers it starts share: where work is done, and the worker itself."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import click

from benchmark import stopping
from benchmark.commands.ordering import planned_for
from benchmark.commands.selecting import selection_of
from benchmark.errors import BadInput
from benchmark.executors.in_process import InProcess
from benchmark.executors.local import Local
from benchmark.executors.order import Executor, Order, Shard
from benchmark.executors.profile import Profile, load_profile
from benchmark.executors.slurm import Slurm
from benchmark.store import Store
from benchmark.submissions import with_submissions


@dataclass(frozen=True)
class Where:
    """Where and how `run` works, as its options say."""

    place: str
    workers: int
    shard: Shard | None
    profile: Profile | None
    wait: bool
    purpose: str | None

    @staticmethod
    def read(
        place: str, workers: int, shard: str | None, profile: Path | None, wait: bool, purpose: str | None
    ) -> Where:
        """From the words of the command line. Raises BadInput for what does not go together."""
        if profile and place != "slurm":
            raise BadInput("--profile", f"means nothing to --executor {place}", "Add --executor slurm")
        if place == "slurm" and profile is None:
            raise BadInput("--executor slurm", "has no profile", "Give --profile FILE, see docs/scaling.md")
        return Where(
            place,
            1 if place == "in-process" else workers,
            Shard.parse(shard) if shard else None,
            load_profile(profile) if profile else None,
            wait,
            purpose,
        )

    @property
    def waits(self) -> bool:
        """Whether the work is over when the executor returns."""
        return self.place != "slurm" or self.wait

    @property
    def hands(self) -> int:
        """Workers that share the work."""
        return self.profile.tasks * self.profile.workers if self.profile else self.workers

    def executor(self) -> Executor:
        """The executor of that name."""
        if self.place == "in-process":
            return InProcess()
        return Slurm(self.profile, self.wait) if self.profile else Local(self.workers)


def worker(  # noqa: PLR0913, PLR0917 - one for each option
    only: tuple[str, ...],
    results: Path,
    deadline: float | None,
    seconds: float | None,
    like: Path | None,
    plugins: tuple[Path, ...],
    retry_failed: bool,
    device: Literal["cpu", "cuda"],
    hands: int,
    **rest: str | None,
) -> None:
    """One worker process of `run`; prints one JSON object per line."""
    from benchmark.errors import LotterybenchError
    from benchmark.executors.in_process import work_here

    stopping.on_signals(signal.SIGTERM)  # from Slurm, or from `run`
    stopping.with_parent()
    store = Store(results)
    if seconds is not None:
        deadline = time.monotonic() + seconds
    shard = Shard.parse(rest["shard"]) if rest["shard"] else None
    given = Order(only, results, deadline, None, plugins, retry_failed, like, shard, rest["purpose"], device, hands)
    try:
        selection = selection_of(only, partial(with_submissions, store))
        work_here(given, planned_for(given, selection, store), store, _emit)
    except LotterybenchError as error:
        print(json.dumps({"event": "error", "text": str(error)}), flush=True)
        raise click.exceptions.Exit(error.exit_code) from error


def _emit(event: str, fields: dict[str, Any]) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)
