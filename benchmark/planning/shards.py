"""Which jobs make up shard i of N: the same on every machine, whatever has been done where. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from benchmark.planning.plan import Job, PlannedJob
from benchmark.protocols import Protocol
from benchmark.protocols.cells import cells_of, train_steps
from benchmark.utils.errors import BadInput


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
