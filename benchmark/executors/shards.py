"""Which jobs make up shard i of N: the same on every machine, whatever has been done where. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmark.executors.order import Shard
from benchmark.plan import Job, PlannedJob, cells_of, train_steps
from benchmark.protocol import Protocol


def part(planned: Sequence[PlannedJob], selection: Sequence[tuple[Protocol, str]], shard: Shard) -> list[PlannedJob]:
    """The jobs of a plan that belong to a shard.

    All jobs of the selection, finished ones included, are dealt out: the longest first, each to the shard that has
    least so far. What is measured already therefore moves no job to another shard.
    """
    weights: Counter[tuple[str, str]] = Counter()
    for protocol, method in selection:
        one = protocol.network.multiply_adds * protocol.recipe.batch_size
        for cell in cells_of(protocol, method):
            weights[protocol.key, Job(protocol, (cell,)).name] += one * train_steps(protocol, cell)
    loads = [0] * shard.count
    mine = set()
    for name, weight in sorted(weights.items(), key=lambda item: (-item[1], item[0])):
        least = loads.index(min(loads))
        loads[least] += weight
        if least == shard.number - 1:
            mine.add(name)
    return [item for item in planned if (item.job.protocol.key, item.job.name) in mine]
