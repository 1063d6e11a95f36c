"""What records mean for claims: which verdicts a run changed, which claims are near one, which ones a cell serves.

Functions of records and published claims. No torch.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter

from benchmark import protocols as known_protocols
from benchmark.claims import papers
from benchmark.claims.evidence import UNDECIDED
from benchmark.claims.observations import Observations, gathered
from benchmark.claims.published import Published
from benchmark.claims.verdicts import Decision, decide_paper
from benchmark.cli.terminal import counted
from benchmark.harness.executors.executor import title
from benchmark.planning.plan import PlannedJob
from benchmark.planning.priority import cells_needed
from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.utils.errors import LotterybenchError
from benchmark.utils.files import MIB, read_limited, write_atomically

WRONG = ("deviates", "contradicted")
NAMED = 3  # claims that one line names
Changes = dict[str, tuple[str, str]]
"""Claim -> its verdict before and after a run, where they differ."""


def conclusion(protocols: Sequence[Protocol], store: Store, recorded: Collection[str]) -> str:
    """One sentence on what newly recorded cells, by title, mean; notes in the results folder which verdicts changed."""
    before, after = _before_and_after(protocols, store, recorded)
    changes = {
        new.claim: (old.spoken_verdict, new.spoken_verdict)
        for old, new in zip(before, after, strict=True)
        if old.spoken_verdict != new.spoken_verdict
    }
    if changes:
        with suppress(LotterybenchError):  # read-only or full: this only marks rows of `score`
            write_atomically(_path(store), json.dumps(changes).encode(), store.work)
    if not after:
        return "No published claim rests on them."
    says = "; ".join(f"{claim} now {verdict}" for claim, (_, verdict) in list(changes.items())[:NAMED])
    if len(changes) > NAMED:
        says += f" and {counted(len(changes) - NAMED, 'more verdict')} changed: lotterybench score"
    return "; ".join(part for part in (says or "No verdict changed", nearest_words(after)) if part) + "."


def last_changes(store: Store) -> Changes:
    """Which verdicts the last run changed that changed any; empty if that is not known."""
    with suppress(LotterybenchError, ValueError):  # not there, or damaged
        return TypeAdapter(Changes).validate_json(read_limited(_path(store), MIB))
    return {}


def nearest_words(decisions: Iterable[Decision]) -> str:
    """How many open claims need the fewest further seeds, as in `2 claims need 1 more seed each`; or nothing. Where
    all of them are decided at planned looks, that it is a look which the seeds reach."""
    open_ = [d for d in decisions if d.verdict == "inconclusive" and d.seeds_still_needed]
    if not open_:
        return ""
    fewest = min(d.seeds_still_needed or 0 for d in open_)
    nearest = [d for d in open_ if d.seeds_still_needed == fewest]
    count = len(nearest)
    if all(d.looks_left is not None for d in nearest):
        verb = "reaches its" if count == 1 else "reach their"
        return f"{counted(count, 'claim')} {verb} next look with {counted(fewest, 'more seed')}"
    verb, each = ("needs", "") if count == 1 else ("need", " each")
    return f"{counted(count, 'claim')} {verb} {counted(fewest, 'more seed')}{each}"


def verdict_words(decisions: Iterable[Decision]) -> str:
    """How many claims have which verdict, and how many of those decided are statements of this suite."""
    every = list(decisions)
    counts: Counter[str] = Counter(d.verdict for d in every)
    decided = [d for d in every if d.verdict not in UNDECIDED]
    kinds = ", ".join(f"{counts[v]} {v}" for v in ("reproduced", *WRONG) if counts[v])
    open_ = f"{counts['inconclusive']} inconclusive, {counts['not measured']} not measured"
    words = f"{counted(len(decided), 'claim')} decided{f' ({kinds})' if kinds else ''}; {open_}."
    own = Counter(d.verdict for d in decided if d.stated_by == "suite")
    if not own:
        return words
    asked = ", ".join(f"{n} {verdict}" for verdict, n in own.items())
    return f"{words} Of those decided, {sum(own.values())} are asked by this suite and not stated by a paper ({asked})."


def that_matter(decisions: Sequence[Decision], changed: Collection[str], most: int) -> list[Decision]:
    """At most so many decisions, those first that do not hold, then those that changed, hold, are near a verdict.

    A quarter of the places is left to open claims, fewest seeds first, where there are so many.
    """
    near = [d for d in decisions if d.verdict in UNDECIDED and any(check.is_known for check in d.checks)]
    near.sort(key=lambda d: (d.claim not in changed, d.seeds_still_needed is None, d.seeds_still_needed or 0))
    decided = [d for d in decisions if d.verdict not in UNDECIDED]
    decided.sort(key=lambda d: (d.verdict not in WRONG, d.claim not in changed))
    places = max(most - len(near), most - most // 4)
    return [*decided[:places], *near[: most - min(len(decided), places)]]


class Served:
    """Which published claims rest on the cells of a plan, by the cell's title."""

    def __init__(self, planned: Sequence[PlannedJob]) -> None:
        self._planned = planned

    def words(self, cell: str) -> str:
        """` (for lth-4, lth-7)`, or nothing if no claim rests on the cell."""
        claims = self._claims.get(cell, [])
        more = f" and {len(claims) - NAMED} more" if len(claims) > NAMED else ""
        return f" (for {', '.join(claims[:NAMED])}{more})" if claims else ""

    @cached_property
    def _claims(self) -> Mapping[str, list[str]]:
        known = {item.job.protocol.id: item.job.protocol for item in self._planned}
        found: dict[tuple[str, Cell], list[str]] = {}
        for paper in papers.load_all():
            for claim in paper.claims:
                for name in claim.cells.keys() & known.keys():
                    for cell in cells_needed(claim, known[name]):
                        found.setdefault((name, cell), []).append(claim.id)
        planned = ((item.job.protocol, cell) for item in self._planned for cell in item.job.cells)
        return {title(protocol, cell): found.get((protocol.id, cell), []) for protocol, cell in planned}


def _before_and_after(
    protocols: Sequence[Protocol], store: Store, recorded: Collection[str]
) -> tuple[list[Decision], list[Decision]]:
    """The claims that rest on these protocols, decided without the cells recorded now and with them.

    Whole papers are decided: corrections for many tests run over all claims of one.
    """
    chosen = {protocol.id: protocol for protocol in protocols}
    touched = [p for p in papers.load_all() if any(claim.cells.keys() & chosen.keys() for claim in p.claims)]
    named = {name for paper in touched for claim in paper.claims for name in claim.cells}
    every = {p.id: p for p in known_protocols.load_all()} | chosen
    known = {name: every[name] for name in every if name in named}
    after = {name: gathered(protocol, [store]) for name, protocol in known.items()}
    before = {name: _without(seen, recorded) for name, seen in after.items()}
    return _on(touched, before, chosen), _on(touched, after, chosen)


def _without(seen: Observations, recorded: Collection[str]) -> Observations:
    def is_old(record: Record) -> bool:
        c = record.cell
        return title(seen.protocol, Cell(record.method.name, c.level, c.seed, c.draw)) not in recorded

    return Observations(seen.protocol, [record for record in seen.every_record if is_old(record)])


def _on(touched: Sequence[Published], seen: Mapping[str, Observations], chosen: Collection[str]) -> list[Decision]:
    decisions = (decision for paper in touched for decision in decide_paper(paper, seen))
    return [decision for decision in decisions if decision.cells.keys() & set(chosen)]


def _path(store: Store) -> Path:
    return store.work / "last-changes.json"
