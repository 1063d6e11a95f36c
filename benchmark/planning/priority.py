"""Which cells decide most: the order in which a budget is spent. No torch.

First come claims that nothing is known of, then inconclusive ones that a few more seeds would settle, then the seeds
that other open claims still lack, then those that a verdict was reached without; what no claim asks for comes last.
Among equals the claims stand in the order of their papers' files, where headline claims come first.

How claims stand is remembered beside the results while what that rests on stays: statistics take half as long as all
else that a plan does. Only the order of work rests on what is remembered; what is shown of a claim is always worked out
anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Protocol as Interface

from pydantic import TypeAdapter

from benchmark.claims.evidence import UNDECIDED, Verdict
from benchmark.claims.observations import Observations, Point
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell, cells_of, is_chain, method_names, point_of, source_of
from benchmark.protocols.methods import ControlSpec, MethodSpec
from benchmark.records.store import Store
from benchmark.utils.errors import BadInput, LotterybenchError, did_you_mean
from benchmark.utils.files import MIB, read_limited, sha256, write_atomically

if TYPE_CHECKING:
    from benchmark.claims.verdicts import Decision

NEVER = 1_000_000  # seeds: sorts behind every number that could be needed
FIRST_SEEDS = 3  # of a claim that nothing is known of: enough for a first interval
UNCLAIMED = (4, 0)
REASONS = (
    "first seeds of a claim not measured",
    "a few more seeds decide",
    "further seeds of an open claim",
    "further seeds of a decided claim",
    "no claim asks for it",
)  # by tier
Tier = tuple[int, int]


class RestsOnCells(Interface):
    """A claim, or what was decided of it."""

    @property
    def cells(self) -> Mapping[str, Sequence[Point]]:
        """Protocol id -> the points whose numbers it rests on."""


@dataclass(frozen=True)
class ClaimStatus:
    """A claim as far as the order of work follows from it.

    `seeds_measured`: of the check that has fewest. `seeds_still_needed`, `cells`, `part_of`: as in a `Decision`.
    """

    paper: str
    claim: str
    part_of: str | None
    verdict: Verdict
    seeds_measured: int
    seeds_still_needed: int | None
    cells: Mapping[str, tuple[Point, ...]]


@dataclass(frozen=True)
class Wanted:
    """Tier by cell, lowest first; cells that are not in it decide nothing."""

    tiers: Mapping[tuple[str, Cell], Tier]
    only: bool = False

    def tier(self, protocol: Protocol, cell: Cell) -> Tier:
        """How much a cell is wanted."""
        return self.tiers.get((protocol.key, cell), UNCLAIMED)

    def includes(self, protocol: Protocol, cell: Cell) -> bool:
        """Whether it is to be run at all: with --for, nothing but what that needs."""
        return not self.only or (protocol.key, cell) in self.tiers


def cells_needed(claim: RestsOnCells, protocol: Protocol) -> list[Cell]:
    """Every planned cell of a protocol that a claim rests on, with the levels and networks that lead to them."""
    levels: dict[str, int] = {}
    exact: set[tuple[str, int]] = set()
    for method, level in claim.cells.get(protocol.id, ()):
        name = point_of(protocol, method, level)[0]
        exact.add((name, level))
        if name in protocol.all_methods:
            _leading_to(protocol, name, level, levels)
    if not exact:
        return []
    points = exact | {(method, level) for method, top in levels.items() for level in range(1, top + 1)}
    methods = {method for method, _ in points} | {DENSE}
    return [
        cell
        for method in method_names(protocol)
        if method in methods
        for cell in cells_of(protocol, method)
        if method == DENSE or (method, cell.level) in points
    ]


def _leading_to(protocol: Protocol, method: str, level: int, levels: dict[str, int]) -> None:
    """Note that a chain is needed down to `level`, for itself or for a control of it."""
    spec = protocol.method(method)
    chain = spec.of if isinstance(spec, ControlSpec) else method
    if is_chain(protocol, chain):
        levels[chain] = max(levels.get(chain, 0), level)


def cells_for_one_seed(protocol: Protocol, points: Iterable[Point]) -> list[Cell]:
    """Everything that is trained before one seed has these (method, level) points: a chain's earlier levels, a
    control's parent, the dense network that masks or rewinding start from. Seed 0 stands for any."""
    cells: set[Cell] = set()
    for method, level in points:
        cells.update(_behind(protocol, *point_of(protocol, method, level)))
    return sorted(cells)


def _behind(protocol: Protocol, method: str, level: int) -> set[Cell]:
    if method == DENSE:
        return {Cell(DENSE, 0, 0)}
    if method in protocol.analyses:
        return {Cell(method, level, 0)}
    spec = protocol.method(method)
    if isinstance(spec, ControlSpec):
        own = {Cell(method, level, 0, draw) for draw in range(spec.draws)}
        if spec.hook and protocol.pruning_method(spec.of).hook:  # which is told what the parent's has counted
            return own | _behind(protocol, spec.of, level)
        # A parent's mask needs the networks before it, not the parent's own training at this level.
        return own | (_behind(protocol, spec.of, level) - {Cell(spec.of, level, 0)})
    if is_chain(protocol, method):
        return {Cell(method, lower, 0) for lower in range(1, level + 1)} | {Cell(DENSE, 0, 0)}
    assert isinstance(spec, MethodSpec)
    starts_trained = spec.schedule.scores == "trained" or spec.schedule.restart != 0
    return {Cell(method, level, 0)} | ({Cell(DENSE, 0, 0)} if starts_trained else set())


def wanted_methods(claims: Iterable[ClaimStatus], protocols: Sequence[Protocol]) -> dict[str, dict[str, int]]:
    """Protocol id -> method -> the fewest further seeds that decide an open claim on it."""
    known = {protocol.id: protocol for protocol in protocols}
    fewest: dict[str, dict[str, int]] = {}
    for claim in claims:
        if claim.verdict not in UNDECIDED:
            continue
        seeds = NEVER if claim.seeds_still_needed is None else claim.seeds_still_needed
        for name in claim.cells.keys() & known.keys():
            methods = fewest.setdefault(name, {})
            for cell in cells_for_one_seed(known[name], claim.cells[name]):
                methods[cell.method] = min(methods.get(cell.method, NEVER), seeds)
    return fewest


def wanted(claims: Sequence[ClaimStatus], protocols: Sequence[Protocol], target: str | None = None) -> Wanted:
    """Tiers of all cells of `protocols`, from how claims stand; of one claim, paper or method only with `target`.

    A claim may compare one of them with a protocol that is not among them.
    Raises BadInput for a target that is none of these.
    """
    known = {protocol.id: protocol for protocol in protocols}
    if target is not None:
        claims = _meant(target, claims, protocols)
    tiers: dict[tuple[str, Cell], Tier] = {}
    for place, claim in enumerate(claims):
        for protocol in [known[name] for name in claim.cells if name in known]:
            of_seed = {seed: (_tier(claim, number), place) for seed, number in protocol.seed_positions.items()}
            for cell in cells_needed(claim, protocol):
                tier = of_seed[cell.seed]
                for asked in ((protocol.key, cell), *_of_source(protocol, cell)):
                    if tier < tiers.get(asked, UNCLAIMED):
                        tiers[asked] = tier
    if target is not None:
        for protocol in protocols:
            if target in method_names(protocol):
                for cell in cells_of(protocol, target):
                    tiers.setdefault((protocol.key, cell), UNCLAIMED)
    return Wanted(tiers, target is not None)


def _of_source(protocol: Protocol, cell: Cell) -> list[tuple[str, Cell]]:
    """(key of protocol, cell): what is trained in a source before a cell has its mask; nothing for most methods."""
    found = source_of(protocol, cell)
    if found is None:
        return []
    source, of = found
    return [(source.key, replace(c, seed=cell.seed)) for c in cells_for_one_seed(source, [(of.method, of.level)])]


def _meant(target: str, claims: Iterable[ClaimStatus], protocols: Sequence[Protocol]) -> list[ClaimStatus]:
    """Those that belong to a claim, to a statement that claims are parts of, to a paper or to a method."""
    known = list(claims)
    methods = {name for protocol in protocols for name in method_names(protocol)}
    found = [c for c in known if target in (c.claim, c.paper, c.part_of)]
    if found:
        return found
    if target in methods:
        return [c for c in known if target in {m for points in c.cells.values() for m, _ in points}]
    whole = {name for c in known if (name := c.part_of)}
    names = sorted({c.claim for c in known} | whole | {c.paper for c in known} | methods)
    raise BadInput(
        f"--for {target}", "is no claim, paper or method of the selected protocols", did_you_mean(target, names)
    )


def _tier(claim: ClaimStatus, seed: int) -> int:
    if claim.verdict == "not measured":
        return 0 if seed < FIRST_SEEDS else 2
    if claim.verdict == "inconclusive":
        needed = claim.seeds_still_needed
        return 1 if needed is not None and seed < claim.seeds_measured + needed else 2
    return 3


MOST_BYTES = 16 * MIB  # 216 claims take 0.1 MB
PACKAGE = Path(__file__).parents[1]
RESTS_ON = (".py", ".yaml", ".csv")


def open_claims(store: Store, seen: Mapping[str, Observations], retry_failed: bool = False) -> list[ClaimStatus]:
    """Of `decide_open` of what was seen of each protocol, by id, in the records of `store`."""
    remembered = TypeAdapter(tuple[str, list[ClaimStatus]])
    state = _state(store, seen)
    path = store.work / "open-claims" / f"{sha256(json.dumps([*sorted(seen), retry_failed]).encode())[:16]}.json"
    with suppress(LotterybenchError, ValueError):  # not there, or damaged: worked out anew
        known, claims = remembered.validate_json(read_limited(path, MOST_BYTES))
        if known == state:
            return claims
    claims = worked_out(seen, retry_failed)
    if any(observations.records for observations in seen.values()):  # no folder is made for nothing
        with suppress(LotterybenchError):  # read-only, or full
            write_atomically(path, remembered.dump_json((state, claims)), store.work)
    return claims


def worked_out(seen: Mapping[str, Observations], retry_failed: bool) -> list[ClaimStatus]:
    """How every claim stands to which a planned run can add."""
    from benchmark.claims.verdicts import decide_open

    return [status_of(decision) for decision in decide_open(seen, retry_failed)]


def status_of(decision: Decision) -> ClaimStatus:
    """What the order of work needs of a decision."""
    return ClaimStatus(
        paper=decision.paper,
        claim=decision.claim,
        part_of=decision.part_of,
        verdict=decision.verdict,
        seeds_measured=min((len(check.seeds) for check in decision.checks), default=0),
        seeds_still_needed=decision.seeds_still_needed,
        cells=decision.cells,
    )


def _state(store: Store, seen: Mapping[str, Observations]) -> str:
    """Digest of all that decisions rest on: protocols, files of records, and this package, claims and code."""
    protocols = [(name, observations.protocol.digest) for name, observations in sorted(seen.items())]
    records = store.marks(observations.protocol for observations in seen.values())
    return sha256(json.dumps([protocols, records, sorted(_files(PACKAGE))]).encode())


def _files(folder: Path | str) -> Iterator[tuple[str, int, int]]:
    """(path, bytes, time of change) of every file below that code or claims are in."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path)
            elif entry.name.endswith(RESTS_ON):
                found = entry.stat()
                yield entry.path, found.st_size, found.st_mtime_ns
