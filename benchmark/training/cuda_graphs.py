"""Updates captured as CUDA graphs and replayed: no Python and no kernel launches in the hot loop.

A graph holds addresses, not values. What changes from update to update is on the device already: the tables of the
epoch, the learning rates, the counter. See "CUDA Graphs" in PyTorch's CUDA semantics notes for the rules kept here:
warm-up on side streams, gradients that the graph allocates itself, capturable optimizers, no generator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch

from benchmark.training.step import Step

WARM_UPS = 3  # updates before a capture: optimizer states, libraries' workspaces and cuDNN's choices are made in them
LONG = 10  # updates in the longer of the two graphs of each batch size


class Replay:
    """Runs updates of several step functions side by side, each on a stream of its own. See `Updates`.

    The first updates of each batch size run eagerly, on those streams, and are part of the training; then one update
    of every step function is captured as one graph, and `LONG` updates as another, to be launched once for all.
    """

    stride = 1_000_000_000  # to the next stop: a look at the clock in between would keep the host busy

    def __init__(self, steps: Sequence[Step], streams: Sequence[torch.cuda.Stream]) -> None:
        self._steps, self._streams = steps, streams
        self._graphs: dict[tuple[int, int], Callable[[], None]] = {}
        self._warm: Counter[int] = Counter()

    @staticmethod
    def of(steps: Sequence[Step]) -> Replay:
        """For step functions whose data is on the current CUDA device."""
        return Replay(steps, [torch.cuda.Stream() for _ in steps])  # type: ignore[no-untyped-call]

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
        """One or `LONG` updates on batches of `size`, at most `most`; returns how many."""
        if self._warm[size] < WARM_UPS:
            self._fork(size)
            self._warm[size] += 1
            return 1
        count = LONG if most >= LONG else 1
        if (size, count) not in self._graphs:
            self._graphs[size, count] = self._captured(size, count)
        self._graphs[size, count]()
        return count

    def _captured(self, size: int, count: int) -> Callable[[], None]:
        """A launch of `count` updates of every step function. Capturing runs nothing."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(count):
                self._fork(size)
        return graph.replay

    def _fork(self, size: int) -> None:
        """One update of every step function, side by side; the current stream goes on when all are done."""
        here = torch.cuda.current_stream()
        for step, stream in zip(self._steps, self._streams, strict=True):
            stream.wait_stream(here)
            with torch.cuda.stream(stream):
                step(size)
        for stream in self._streams:
            here.wait_stream(stream)
