"""Plans narrowed to seeds and levels, as `--seeds` and `--levels` name them. No torch."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from benchmark.planning.plan import PlannedJob, with_cells
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell, cells_of, is_chain
from benchmark.utils.errors import BadInput

MOST = 10_000  # numbers of one range
NAMED = 3  # protocols that an error names
Pairs = Sequence[tuple[Protocol, str]]


@dataclass(frozen=True)
class Narrowed:
    """Seeds and levels that are wanted; None for all. Of a chain, the levels before a wanted one are needed too."""

    seeds: frozenset[int] | None = None
    levels: frozenset[int] | None = None

    @classmethod
    def parse(cls, seeds: str | None, levels: str | None) -> Self:
        """From text such as `0,2-4`. Raises BadInput."""
        return cls(*(None if text is None else _numbers(f, text) for f, text in (("seeds", seeds), ("levels", levels))))

    def of(self, planned: Sequence[PlannedJob]) -> list[PlannedJob]:
        """The part of a plan that is wanted; dense networks have level 0, and come with every level."""
        found = (with_cells(item, [c for c in item.job.cells if self._has(item.job.protocol, c)]) for item in planned)
        return [kept for kept in found if kept]

    def count(self, selection: Pairs) -> int:
        """How many cells of a selection are wanted, measured or not."""
        return sum(self._has(protocol, cell) for protocol, method in selection for cell in cells_of(protocol, method))

    def refuse_none(self, selection: Pairs) -> None:
        """Raises BadInput, with what there is, if no selected method has any of the seeds, or any of the levels."""
        _refuse("seeds", self.seeds, {p: _seed_words(p, own) for p, own in _methods(selection).items()},
                (cell.seed for pair in selection for cell in cells_of(*pair)))  # fmt: skip
        _refuse("levels", self.levels, {p: _level_words(p, own) for p, own in _methods(selection).items()},
                (cell.level for pair in selection for cell in cells_of(*pair)))  # fmt: skip

    def _has(self, protocol: Protocol, cell: Cell) -> bool:
        if self.seeds is not None and cell.seed not in self.seeds:
            return False
        if self.levels is None or cell.method == DENSE or cell.level in self.levels:
            return True
        return is_chain(protocol, cell.method) and cell.level < max(self.levels)


def ranges(numbers: Iterable[int], to: str = " to ") -> str:
    """Whole numbers in words: `0 to 4, 7`; with `to` a hyphen, as they are written on a command line."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}{to}{last}" for first, last in runs)


def _methods(selection: Pairs) -> dict[Protocol, set[str]]:
    found: dict[Protocol, set[str]] = {}
    for protocol, method in selection:
        found.setdefault(protocol, set()).add(method)
    return found


def _refuse(what: str, wanted: Collection[int] | None, having: dict[Protocol, str], there: Iterable[int]) -> None:
    if wanted is None or not having or not set(wanted).isdisjoint(there):
        return
    words = [f"{protocol.argument} has {own}" for protocol, own in list(having.items())[:NAMED]]
    more = f"; so with {len(having) - NAMED} more protocols" if len(having) > NAMED else ""
    flag = f"--{what} {ranges(wanted, '-').replace(' ', '')}"
    raise BadInput(flag, f"{'; '.join(words)}{more}", f"Give {what} that are there")


def _seed_words(protocol: Protocol, methods: Collection[str]) -> str:
    if set(methods) == {DENSE}:
        return f"seeds {ranges((*protocol.seeds, *protocol.dense_seeds))}"
    dense = f" (dense {ranges(protocol.dense_seeds)})" if protocol.dense_seeds and DENSE in methods else ""
    return f"seeds {ranges(protocol.seeds)}{dense}"


def _level_words(protocol: Protocol, methods: Collection[str]) -> str:
    return f"levels {ranges(cell.level for method in methods for cell in cells_of(protocol, method))}"


def _numbers(flag: str, text: str) -> frozenset[int]:
    found: set[int] = set()
    for one in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", one)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if match and last < first:
            raise BadInput(f"--{flag} {text}", f"{first}-{last} runs backwards", f"Write {last}-{first}")
        if not first <= last < first + MOST:
            raise BadInput(f"--{flag} {text}", "are no numbers", "Write for example 0,2-4")
        found.update(range(first, last + 1))
    return frozenset(found)
