"""Power: how many more seeds each open claim needs, to be decided or to its next planned look, and what they would
cost here. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmark.claims.evidence import UNDECIDED, Verdict
from benchmark.claims.observations import Observations, all_gathered
from benchmark.claims.verdicts import Decision, decide_all
from benchmark.claims.wording import needed_text
from benchmark.planning.plan import expected_seconds
from benchmark.planning.priority import cells_for_one_seed
from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell
from benchmark.records.store import Store

Cost = Callable[[Sequence[Cell]], float]


@dataclass(frozen=True)
class Need:
    """What one open claim needs.

    `seeds`: further seeds that should decide it, at 80 % power if means stay as they are; None if 1,000 would not.
    Under rules 2 those to the next planned look, None after the last; `looks_left`: of a `Decision`.
    `seeds_planned`: seeds of the protocol that its evidence does not have yet. `core_seconds`: one core, here, for
    `seeds` whole seeds, with every training that a mask needs; None where `seeds` is. `methods`: those to
    measure; `elsewhere`: (protocol, method) pairs of other protocols.
    """

    claim: str
    paper: str
    protocol: str
    statement: str
    verdict: Verdict
    seeds: int | None
    seeds_planned: int
    core_seconds: float | None
    methods: tuple[str, ...]
    command: str
    elsewhere: tuple[tuple[str, str], ...] = ()
    looks_left: tuple[int, ...] | None = None

    @property
    def words(self) -> str:
        """How many more seeds or which look, as the board says it, and whether the protocol plans the seeds."""
        if self.looks_left is not None:
            return needed_text(self.seeds, self.looks_left)
        beyond = self.seeds is not None and self.seeds > self.seeds_planned
        return needed_text(self.seeds) + (f" ({self.seeds_planned} planned)" if beyond else "")


def claim_needs(store: Store, protocols: Sequence[Protocol]) -> list[Need]:
    """Every claim that is inconclusive or not measured, cheapest decision first; those that seeds cannot decide last.

    Raises BadInput if a record or a published file is damaged.
    """
    seen = all_gathered(protocols, [store])
    costs = {key: _cost(observations) for key, observations in seen.items()}
    needs = [_need(decision, seen, costs) for decision in decide_all(seen) if decision.verdict in UNDECIDED]
    return sorted(needs, key=lambda n: (n.core_seconds is None, n.core_seconds or 0.0, n.claim))


def to_json(needs: Sequence[Need]) -> list[dict[str, Any]]:
    """Plain JSON types."""
    return [
        {
            **{name: value for name, value in asdict(n).items() if name != "looks_left"},
            "core_hours": None if n.core_seconds is None else round(n.core_seconds / 3600, 3),
            "words": n.words,
        }
        for n in needs
    ]


def _cost(seen: Observations) -> Cost:
    return expected_seconds(seen.protocol, seen.every_record)


def _need(decision: Decision, seen: Mapping[str, Observations], costs: Mapping[str, Cost]) -> Need:
    protocol = seen[decision.protocol].protocol
    cells = {name: cells_for_one_seed(seen[name].protocol, points) for name, points in decision.cells.items()}
    open_ = [c for c in decision.checks if c.verdict in UNDECIDED]
    fewest = min(len(check.seeds) for check in open_) if open_ else 0
    seeds = decision.seeds_still_needed
    return Need(
        claim=decision.claim,
        paper=decision.paper,
        protocol=decision.protocol,
        statement=decision.statement,
        verdict=decision.verdict,
        seeds=seeds,
        seeds_planned=max(0, len(protocol.seeds) - fewest),
        core_seconds=None if seeds is None else seeds * sum(costs[name](own) for name, own in cells.items()),
        methods=tuple(dict.fromkeys(cell.method for cell in cells[protocol.id])),
        command=decision.command,
        elsewhere=tuple(dict.fromkeys((n, c.method) for n, own in cells.items() if n != protocol.id for c in own)),
        looks_left=decision.looks_left,
    )
