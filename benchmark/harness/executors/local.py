"""Local workers: one process per core or GPU, one thread each, sharing the results folder through leases."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmark.harness.executors.executor import Listen, Message, WorkerFailed, WorkOrder, plan_path
from benchmark.records.store import Store
from benchmark.utils.hardware import gpus, share_of


@dataclass(frozen=True)
class Local:
    """`workers` processes on this machine. Returns when nothing is left or time is up."""

    workers: int

    def execute(self, order: WorkOrder, listen: Listen) -> None:
        """See `Executor`."""
        plan = plan_path(Store(order.results))
        try:
            order.save(plan)
            run_workers(plan, min(self.workers, len(order.planned)), listen)
        finally:
            with suppress(OSError):
                plan.unlink()


def run_workers(plan: Path, workers: int, listen: Listen) -> None:
    """Start `workers` times `lotterybench worker PLAN` and hand every message to `listen` until all ended.

    A worker that fails does not stop the others. Raises WorkerFailed afterwards, for the first that failed.
    On KeyboardInterrupt the workers are stopped; whatever they had finished is on disk.
    """
    messages: queue.Queue[Message | None] = queue.Queue()
    found = gpus()
    processes: list[subprocess.Popen[str]] = []
    failures: dict[int, str] = {}
    try:
        for number in range(workers):
            processes.append(_start(plan, share_of(number, found)))
            pipe = processes[-1].stdout
            threading.Thread(target=_read, args=(number, pipe, messages), daemon=True).start()
        open_pipes = workers
        while open_pipes:
            message = messages.get()
            if message is None:
                open_pipes -= 1
            elif message.event == "error":
                failures[message.worker] = str(message.fields["text"])
            else:
                listen(message)
        codes = [process.wait() for process in processes]
    finally:
        # All at once: each goes on to where it can save, and a scheduler that sent the signal gives seconds for it.
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
    for worker, code in enumerate(codes):
        if code:
            text = failures.get(worker) or (f"was killed by signal {-code}" if code < 0 else f"ended with code {code}")
            raise WorkerFailed(worker, text.rstrip("."), code if code > 0 else 3)


def _start(plan: Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmark.cli", "worker", str(plan)],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the workers
        env={**os.environ, **environment},
    )


def _read(worker: int, pipe: IO[str] | None, messages: queue.Queue[Message | None]) -> None:
    assert pipe is not None
    try:
        for line in pipe:
            if message := _message(worker, line):
                messages.put(message)
            else:
                print(line, end="", file=sys.stderr)  # a library's own words
    finally:
        messages.put(None)


def _message(worker: int, line: str) -> Message | None:
    """What a worker says in a line; None if it is no JSON object with an event."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or not isinstance(event := fields.pop("event", None), str):
        return None
    return Message(worker, event, fields)
