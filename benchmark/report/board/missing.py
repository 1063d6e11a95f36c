"""What it would take to decide what is open: runs, and core-hours as records of this suite let expect them. No torch.

The same records give the same figures on every machine: an update of a protocol takes the median over the processors
that recorded one; where nothing is recorded, its operations at the speed of one core (`benchmark.planning.cost`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmark.claims.evidence import UNDECIDED
from benchmark.claims.observations import Observations
from benchmark.claims.verdicts import Decision
from benchmark.planning.cost import CostModel
from benchmark.planning.plan import expected_seconds
from benchmark.planning.priority import cells_needed
from benchmark.protocols.cells import Cell

DEVICE = "cpu: of no record"
"""A processor that no record names, so that all those that were measured count."""


@dataclass(frozen=True)
class Missing:
    """Planned runs without a record, and the hours of one core that they should take."""

    runs: int
    core_hours: float

    @property
    def hours(self) -> str:
        """The hours with two digits: they are an estimate."""
        if not self.runs:
            return ""
        if self.core_hours < 0.1:
            return "under 0.1"
        return f"{self.core_hours:.1f}" if self.core_hours < 10 else f"{float(f'{self.core_hours:.2g}'):,.0f}"


def missing_for(decisions: Iterable[Decision], seen: Mapping[str, Observations]) -> Missing:
    """What the open claims among `decisions` still need, each run counted once, with the networks that lead to it."""
    wanted: dict[str, dict[Cell, None]] = {}
    for decision in decisions:
        if decision.verdict in UNDECIDED:
            for name in decision.cells:
                needed = cells_needed(decision, seen[name].protocol)
                wanted.setdefault(name, {}).update(dict.fromkeys(needed))
    runs, seconds = 0, 0.0
    for name, cells in wanted.items():
        left = [cell for cell in cells if not seen[name].has(cell)]
        records = seen[name].every_record
        costs = CostModel.learn({seen[name].protocol: records})
        runs += len(left)
        seconds += expected_seconds(seen[name].protocol, records, costs, DEVICE)(left)
    return Missing(runs, seconds / 3600)
