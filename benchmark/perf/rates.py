"""Updates per second of loops against each other: in processes of their own, in turns, so all meet the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import median

from benchmark.perf.loops import Contender
from benchmark.utils.errors import EnvironmentProblem

WARM_UP_SECONDS = 0.5


@dataclass(frozen=True)
class Rate:
    """Updates per second, summed over a contender's networks: the median over turns, the slowest and the fastest.

    `per_core_second`: updates by the processor time that its processes used, the median over turns. `peak_bytes`: most
    memory of the device that was reserved; None on a CPU.
    """

    contender: Contender
    median: float
    lowest: float
    highest: float
    per_core_second: float
    peak_bytes: int | None = None


def rates_of(contenders: Sequence[Contender], protocol: str, seconds: float, turns: int) -> list[Rate]:
    """The rate of every contender, each of which runs `turns` times for `seconds`.

    On a CPU they take turns, so that all meet the same machine. On a GPU there is one after the other, because all
    together might not fit into its memory. `protocol`: an id or a path. Raises EnvironmentProblem if a contender's
    process ends.
    """
    groups = [list(contenders)] if all(c.device == "cpu" for c in contenders) else [[c] for c in contenders]
    return [rate for group in groups for rate in _in_turns(group, protocol, seconds, turns)]


def _in_turns(contenders: Sequence[Contender], protocol: str, seconds: float, turns: int) -> list[Rate]:
    running = [_Running(contender, protocol) for contender in contenders]
    try:
        for each in running:
            each.turn(WARM_UP_SECONDS)
        found = [[each.turn(seconds) for each in running] for _ in range(turns)]
    finally:
        for each in running:
            each.stop()
    by_contender = zip(*found, strict=True)
    return [_summary(each, own) for each, own in zip(running, by_contender, strict=True)]


def _summary(running: _Running, turns: Sequence[tuple[float, float]]) -> Rate:
    rates, by_core = [rate for rate, _ in turns], [per_core for _, per_core in turns]
    return Rate(running.contender, median(rates), min(rates), max(rates), median(by_core), running.peak_bytes)


@dataclass(frozen=True)
class _Turn:
    """What one process did in its turn."""

    updates: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int | None


class _Running:
    """The processes of one contender."""

    def __init__(self, contender: Contender, protocol: str) -> None:
        context, self.contender = get_context("spawn"), contender
        self.peak_bytes: int | None = None  # of all its processes
        self.pipes, self.processes = list[Connection](), []
        for seed in range(contender.processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, contender, protocol, seed), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)

    def turn(self, seconds: float) -> tuple[float, float]:
        """(updates per second of all its networks together, updates per second of processor time)."""
        try:
            for pipe in self.pipes:
                pipe.send(seconds)
            found = [_Turn(*pipe.recv()) for pipe in self.pipes]
        except (EOFError, OSError) as error:
            raise EnvironmentProblem(self.contender.label, "its process ended", "See its message above") from error
        peaks = [turn.peak_bytes for turn in found if turn.peak_bytes is not None]
        self.peak_bytes = sum(peaks) if peaks else None
        updates = self.contender.replicas * sum(turn.updates for turn in found)
        rate = self.contender.replicas * sum(turn.updates / turn.seconds for turn in found)
        return rate, updates / sum(turn.cpu_seconds for turn in found)

    def stop(self) -> None:
        """End the processes that this contender started."""
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            with suppress(OSError):
                pipe.send(None)
            process.join(5)
            process.kill()


def _serve(pipe: Connection, contender: Contender, protocol: str, seed: int) -> None:
    """One process: make the network, then run for as long as asked, again and again."""
    import torch

    from benchmark.perf.loops import updates
    from benchmark.perf.workload import Workload
    from benchmark.protocols import load
    from benchmark.training.device import configure_cpu, cuda_settings

    configure_cpu()
    torch.set_num_threads(contender.threads)
    workload = Workload.of(load(protocol))
    with cuda_settings(workload.recipe.precision):
        go = updates(contender, workload, seed)
        while (seconds := pipe.recv()) is not None:
            pipe.send(_turn(go, seconds, contender.device))


def _turn(go: Callable[[int], None], seconds: float, device: str) -> tuple[int, float, float, int | None]:
    """Run for about so long, the device's work included; the fields of a `_Turn`."""
    import torch

    started, cpu_started, done, chunk = time.perf_counter(), time.process_time(), 0, 1
    while True:
        go(chunk)
        if device == "cuda":
            torch.cuda.synchronize()
        done += chunk
        passed = time.perf_counter() - started
        if passed >= seconds:
            peak = torch.cuda.max_memory_reserved() if device == "cuda" else None
            return done, passed, time.process_time() - cpu_started, peak
        # Look at the clock about ten times: on CUDA every look waits for the device.
        chunk = max(1, min(int(done / passed * seconds / 10), int(done / passed * (seconds - passed)) + 1))
