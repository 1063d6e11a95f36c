"""Which cells decide most: the order in which a budget is spent. No torch.

First come claims that nothing is known of, then inconclusive ones that a few more seeds would settle, then the seeds
that other open claims still lack, then those that a verdict was reached without; what no claim asks for comes last.
Among equals the claims stand in the order of their papers' files, where headline claims come first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmark.errors import BadInput, did_you_mean
from benchmark.plan import cells_of, is_chain, method_names
from benchmark.protocol import ControlSpec, Protocol
from benchmark.published import Claim
from benchmark.records import DENSE, Cell
from benchmark.verdicts import Decision

FIRST_SEEDS = 3  # of a claim that nothing is known of: enough for a first interval
NOBODY_ASKS = (4, 0)
REASONS = (
    "first seeds of a claim not measured",
    "a few more seeds decide",
    "further seeds of an open claim",
    "further seeds of a decided claim",
    "no claim asks for it",
)  # by tier
Tier = tuple[int, int]


@dataclass(frozen=True)
class Wanted:
    """Tier by cell, lowest first; cells that are not in it decide nothing."""

    tiers: Mapping[tuple[str, Cell], Tier]
    only: bool = False

    def tier(self, protocol: Protocol, cell: Cell) -> Tier:
        """How much a cell is wanted."""
        return self.tiers.get((protocol.key, cell), NOBODY_ASKS)

    def includes(self, protocol: Protocol, cell: Cell) -> bool:
        """Whether it is to be run at all: with --for, nothing but what that needs."""
        return not self.only or (protocol.key, cell) in self.tiers


def cells_needed(claim: Claim | Decision, protocol: Protocol) -> list[Cell]:
    """Every planned cell of a protocol that a claim rests on, with the levels and networks that lead to them."""
    levels: dict[str, int] = {}
    exact: set[tuple[str, int]] = set()
    for method, level in claim.cells.get(protocol.id, ()):
        name = method if level else DENSE
        exact.add((name, level))
        if name in protocol.all_methods:
            _leading_to(protocol, name, level, levels)
    if not exact:
        return []
    chains = {(method, level) for method, top in levels.items() for level in range(1, top + 1)}
    methods = [method for method in method_names(protocol) if method in {m for m, _ in exact | chains} | {DENSE}]
    return [
        cell
        for method in methods
        for cell in cells_of(protocol, method)
        if method == DENSE or (method, cell.level) in exact | chains
    ]


def _leading_to(protocol: Protocol, method: str, level: int, levels: dict[str, int]) -> None:
    """Note that a chain is needed down to `level`, for itself or for a control of it."""
    spec = protocol.method(method)
    chain = spec.of if isinstance(spec, ControlSpec) else method
    if is_chain(protocol, chain):
        levels[chain] = max(levels.get(chain, 0), level)


def wanted(decisions: Sequence[Decision], protocols: Sequence[Protocol], purpose: str | None = None) -> Wanted:
    """Tiers of all cells of `protocols`, from their verdicts; of one claim, paper or method only with `purpose`.

    Raises BadInput for a purpose that is none of these.
    """
    known = {protocol.id: protocol for protocol in protocols}
    if purpose is not None:
        decisions = _meant(purpose, decisions, protocols)
    tiers: dict[tuple[str, Cell], Tier] = {}
    for place, decision in enumerate(decisions):
        for protocol in [known[name] for name in decision.cells]:
            for cell in cells_needed(decision, protocol):
                tier = _tier(decision, protocol.seeds.index(cell.seed)), place
                tiers[protocol.key, cell] = min(tier, tiers.get((protocol.key, cell), NOBODY_ASKS))
    if purpose is not None:
        for protocol in protocols:
            if purpose in method_names(protocol):
                for cell in cells_of(protocol, purpose):
                    tiers.setdefault((protocol.key, cell), NOBODY_ASKS)
    return Wanted(tiers, purpose is not None)


def _meant(purpose: str, decisions: Iterable[Decision], protocols: Sequence[Protocol]) -> list[Decision]:
    """The decisions that belong to a claim, to a statement that claims are parts of, to a paper or to a method."""
    known = list(decisions)
    methods = {name for protocol in protocols for name in method_names(protocol)}
    found = [d for d in known if purpose in (d.claim, d.paper, d.part_of)]
    if found:
        return found
    if purpose in methods:
        return [d for d in known if purpose in {m for cells in d.cells.values() for m, _ in cells}]
    whole = {name for d in known if (name := d.part_of)}
    names = sorted({d.claim for d in known} | whole | {d.paper for d in known} | methods)
    raise BadInput(
        f"--for {purpose}", "is no claim, paper or method of the selected protocols", did_you_mean(purpose, names)
    )


def _tier(decision: Decision, seed: int) -> int:
    measured = min((len(check.seeds) for check in decision.checks), default=0)
    if decision.verdict == "not measured":
        return 0 if seed < FIRST_SEEDS else 2
    if decision.verdict == "inconclusive":
        needed = decision.seeds_still_needed
        return 1 if needed is not None and seed < measured + needed else 2
    return 3
