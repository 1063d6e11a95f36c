"""Updates captured as CUDA graphs and replayed: no Python and no kernel launches in the hot loop.

A graph holds addresses, not values. What changes from update to update is on the device already: the tables of the
epoch, the learning rates, the counter. See "CUDA Graphs" in PyTorch's CUDA semantics notes for the rules kept here:
warm-up on side streams, gradients that the graph allocates itself, capturable optimizers, no generator.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import Any, Protocol

import torch

from benchmark.training.step import Step

Work = Callable[[], None]

WARM_UPS = 3  # updates before a capture: optimizer states, libraries' workspaces and cuDNN's choices are made in them
LONG = 10  # updates of one step function in the longer of the two graphs of each batch size, at most
MOST = 40  # updates of all step functions in a graph: of ResNet-20's, each some 230 kernels, about 10,000 nodes
BRANCHES = 16  # streams side by side: more kernels than that do not run at once, and every branch costs an event


class Capturing(Protocol):
    """A device that runs works side by side and captures them; tests imitate it."""

    def beside(self, works: Sequence[Work]) -> None:
        """Run works side by side; what is asked for next begins when all have ended."""
        ...

    def eagerly(self, work: Work) -> None:
        """Run what will be captured next, in the memory that captures have."""
        ...

    def captured(self, work: Work) -> Work:
        """A launch of all that `work` asks of the device. Capturing runs nothing."""
        ...


@cache
def _streams() -> tuple[Any, ...]:
    """One for each branch, and last the one that captures begin on; made once per process.

    torch has 32 and hands them out in turn. If every group asked for new ones, a branch would sooner or later be the
    stream that captures begin on, and the branches after it would wait for its work.
    """
    return tuple(torch.cuda.Stream() for _ in range(BRANCHES + 1))  # type: ignore[no-untyped-call]


class Cuda:
    """The current CUDA device, with `branches` streams, at most `BRANCHES`. See `Capturing`.

    Graphs share one pool of memory: they are launched one after another, and leave nothing in it that another reads.
    """

    def __init__(self, branches: int) -> None:
        self._streams = _streams()[:branches]
        self._pool = torch.cuda.MemPool()

    def beside(self, works: Sequence[Work]) -> None:
        """See `Capturing`.

        Streams that began are waited for even where a work fails: a capture that ended with one still away would raise
        that instead, and hide what went wrong.
        """
        here, away = torch.cuda.current_stream(), list[Any]()
        try:
            for work, stream in zip(works, self._streams, strict=False):
                stream.wait_stream(here)
                away.append(stream)
                with torch.cuda.stream(stream):
                    work()
        finally:
            for stream in away:
                here.wait_stream(stream)

    def eagerly(self, work: Work) -> None:
        """See `Capturing`. Backward passes run in this thread, because a pool is the memory of one thread's requests.

        Else the warm-up of another batch size would reserve memory of its own while graphs hold theirs.
        """
        with torch.cuda.use_mem_pool(self._pool), torch.autograd.set_multithreading_enabled(False):
            work()

    def captured(self, work: Work) -> Work:
        """See `Capturing`. Other threads go on drawing tables, so only this one is held to the rules of a capture."""
        graph = torch.cuda.CUDAGraph()
        where: dict[str, Any] = {"pool": self._pool.id, "stream": _streams()[-1], "capture_error_mode": "thread_local"}
        try:
            with _no_collection(), torch.cuda.graph(graph, **where):
                work()
        except BaseException:
            _end_recording(self._pool.id)
            raise
        return graph.replay


def _end_recording(pool: Any) -> None:
    """Have the allocator leave a pool alone whose capture could not be ended.

    torch 2.11 goes on recording to it. Until that is over no memory is given back, and freeing a pool ends the process.
    """
    with suppress(RuntimeError):  # it has left it
        torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect garbage now and not inside: a graph or an event that is freed during a capture spoils it."""
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Replay:
    """Runs updates of several step functions side by side, spread over the device's streams. See `Updates`.

    The first updates of each batch size run eagerly, on those streams, and are part of the training; then one update
    of every step function is captured as one graph, and several as another, to be launched once for all. A graph forks
    once: each step function goes through all its updates without waiting for the others.
    """

    stride = 1_000_000_000  # to the next stop: a look at the clock in between would keep the host busy

    def __init__(self, steps: Sequence[Step], device: Capturing) -> None:
        self._steps, self._device = steps, device
        self.long = max(1, min(LONG, MOST // len(steps)))
        self._graphs: dict[tuple[int, int], Work] = {}
        self._warm: Counter[int] = Counter()

    @staticmethod
    def of(steps: Sequence[Step]) -> Replay:
        """For step functions whose data is on the current CUDA device."""
        return Replay(steps, Cuda(min(BRANCHES, len(steps))))

    def changed(self) -> None:
        """See `Updates`: what was captured is another update; warm up and capture again."""
        self._graphs.clear()
        self._warm.clear()

    def __call__(self, first: int, last: int) -> None:
        """See `Updates`."""
        number, tables = first, self._steps[0].tables
        while number < last:
            for step in self._steps:
                step.tables.open(number)
            size = tables.size(number)
            partial_after = tables.size(tables.per_epoch - 1) != size
            alike = tables.per_epoch - number % tables.per_epoch - partial_after
            number += self._some(size, min(last - number, alike))

    def _some(self, size: int, most: int) -> int:
        """One or `long` updates on batches of `size`, at most `most`; returns how many."""
        if self._warm[size] < WARM_UPS:
            self._device.eagerly(partial(self._updates, size, 1))
            self._warm[size] += 1
            return 1
        count = self.long if most >= self.long else 1
        if (size, count) not in self._graphs:
            self._graphs[size, count] = self._device.captured(partial(self._updates, size, count))
        self._graphs[size, count]()
        return count

    def _updates(self, size: int, count: int) -> None:
        """`count` updates of every step function, on a stream what falls to it."""

        def own(steps: Sequence[Step]) -> None:
            for step in steps:
                for _ in range(count):
                    step(size)

        branches = [self._steps[place::BRANCHES] for place in range(min(BRANCHES, len(self._steps)))]
        self._device.beside([partial(own, steps) for steps in branches])
