"""Which cells a plan is for, and which of them first; `priorities` answers from the claims. No torch."""

from __future__ import annotations

from typing import Protocol as Interface

from benchmark.protocol import Protocol
from benchmark.records import Cell


class Purpose(Interface):
    """Which cells are wanted most; see `priorities`."""

    def tier(self, protocol: Protocol, cell: Cell, /) -> tuple[int, int]:
        """Lowest first."""

    def includes(self, protocol: Protocol, cell: Cell, /) -> bool:
        """Whether a cell is wanted at all."""


class _AsWritten:
    """The protocol's own order."""

    def tier(self, _protocol: Protocol, _cell: Cell) -> tuple[int, int]:
        """See `Purpose`."""
        return (0, 0)

    def includes(self, _protocol: Protocol, _cell: Cell) -> bool:
        """See `Purpose`."""
        return True


AS_WRITTEN = _AsWritten()
