"""Verdicts: committed records and published claims to decisions. Pure functions.

A claim is `reproduced` only if every one of its checks is, `deviates` if any check does, `not measured` if any check
lacks all data, else `inconclusive`. `Evidence.verdict` decides one check.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from benchmark.claims import papers, statistics
from benchmark.claims.evidence import UNDECIDED, Evidence, Scale, Verdict
from benchmark.claims.families import Judged, families
from benchmark.claims.observations import Observations, Point
from benchmark.claims.published import Claim, Published
from benchmark.claims.rules.base import Rule
from benchmark.claims.wording import needed_text, seeds_text
from benchmark.protocols import Protocol
from benchmark.protocols.cells import method_names
from benchmark.records.store import Store


@dataclass(frozen=True)
class CheckResult:
    """One check of a claim, decided. Numbers are None where nothing was measured or a bound is infinite.

    `estimate`, `low`, `high`: the deciding quantity with its 1 - alpha interval; on the natural log scale for ratios,
    in levels for thresholds. `window`: where it must lie, in words; `bounds`: as numbers on the same `scale`, None
    where it is open. `margin`: what one margin of the protocol is on that scale. p values are corrected (Holm) where
    the check is an ordering, and None where no test was made; `untested` says why an open check was not tested.
    """

    rule: str
    window: str
    measured: str
    estimate: float | None
    low: float | None
    high: float | None
    p_reproduced: float | None
    p_deviates: float | None
    seeds: tuple[int, ...]
    verdict: Verdict
    seeds_still_needed: int | None
    failures: tuple[str, ...]
    scale: Scale
    bounds: tuple[float | None, float | None]
    margin: float
    untested: str = ""

    @property
    def is_known(self) -> bool:
        """Whether anything is known; what is counted from the protocol alone needs no seeds."""
        return self.verdict != "not measured"


@dataclass(frozen=True)
class Decision:
    """One claim, decided. `seeds_still_needed`: None if decided, or if 1,000 more seeds would not do.

    `stated_by`: whether the paper states it, or this suite in its sense; as in `Claim`.

    `waits_for`: the claim that must hold before this one is tested, where it does not yet.

    `cells`: what it rests on, as `Claim.cells`. `part_of`: the divided statement that it is a part of.

    `runs_missing`: runs of its cells that the protocol plans and nobody made; a verdict reached without them is
    provisional, because whoever may stop when a test comes out well finds effects more often than alpha says.

    `looks_left`: numbers of seeds at which the protocol still looks; None where it tests whatever seeds are there
    (rules 1). `decided_at`: the look, in seeds, at which it was decided; None without looks, or undecided.
    `seeds_measured`: how many of the protocol's seeds have everything, under rules 2.
    """

    paper: str
    protocol: str
    claim: str
    statement: str
    published: str
    source: str
    note: str | None
    measured: str
    seeds: str
    verdict: Verdict
    seeds_still_needed: int | None
    runs_missing: int
    checks: tuple[CheckResult, ...]
    failures: tuple[str, ...]
    patterns: tuple[str, ...]
    cells: Mapping[str, tuple[Point, ...]]
    part_of: str | None
    waits_for: str | None = None
    stated_by: Literal["paper", "suite"] = "paper"
    looks_left: tuple[int, ...] | None = None
    decided_at: int | None = None
    seeds_measured: int = 0

    @property
    def provisional(self) -> bool:
        """Decided before all planned runs were made."""
        return self.verdict not in UNDECIDED and self.runs_missing > 0

    @property
    def spoken_verdict(self) -> str:
        """The verdict, marked if it is provisional."""
        return f"{self.verdict}, provisional" if self.provisional else self.verdict

    @property
    def needed_words(self) -> str:
        """What an open claim still needs."""
        return needed_text(self.seeds_still_needed, self.looks_left, not self.runs_missing)

    @property
    def seeds_words(self) -> str:
        """The seeds that the numbers rest on, and that a look decided where there was one."""
        last = not self.looks_left and self.decided_at == self.seeds_measured
        if self.decided_at is None or last:
            return f"{self.seeds} seeds"
        further = f", {self.seeds_measured} measured" if self.seeds_measured > self.decided_at else ""
        return f"decided at the look of {self.seeds} seeds{further}"

    @property
    def command(self) -> str:
        """What re-runs everything that the claim rests on; shows the protocol where nothing is run."""
        return "lotterybench run " + " ".join(self.patterns) if self.patterns else f"lotterybench info {self.protocol}"


def decide(store: Store, protocols: Sequence[Protocol]) -> list[Decision]:
    """Every published claim that these protocols decide, in the order of the papers' files."""
    known = {protocol.id: protocol for protocol in protocols}
    return decide_all({key: Observations(protocol, store.records(protocol)) for key, protocol in known.items()})


def decide_all(observations: Mapping[str, Observations]) -> list[Decision]:
    """Every published claim on these protocols, by id, in the order of the papers' files."""
    return [decision for paper in papers.load_all() for decision in decide_paper(paper, observations)]


def decide_open(observations: Mapping[str, Observations], retry_failed: bool = False) -> list[Decision]:
    """The same of those claims to which a planned run can still add; with `retry_failed`, one that failed as well.

    For plans: the numbers of papers are taken as they are written.
    """

    def can_change(claim: Claim) -> bool:
        return any(
            observations[name].missing(cells) or (retry_failed and observations[name].failed(cells))
            for name, cells in claim.cells.items()
        )

    return [d for paper in papers.all_as_written() for d in decide_paper(paper, observations, can_change)]


def decide_paper(
    paper: Published, observations: Mapping[str, Observations], asked: Callable[[Claim], bool] = lambda _: True
) -> list[Decision]:
    """The claims of one paper, or those `asked` for, each by the version of the rules that its protocol names."""
    claims = [claim for claim in paper.claims if claim.cells.keys() <= observations.keys()]
    wanted = {claim.id for claim in claims if asked(claim)}
    if not wanted:
        return []
    known = {name: seen.protocol for name, seen in observations.items()}
    planned: dict[str, Judged] = {}
    for family in families(paper.claims, known):
        planned.update(family.judge(observations))
    at_once = [
        claim for claim in claims if known[claim.protocol].statistics.rules == 1 or not any(claim.cells.values())
    ]
    tested = _tested_at_once(at_once, observations, wanted)
    return [
        _decision(paper, claim, observations, tested[claim.id], None)
        if claim.id in tested
        else _decision(paper, claim, observations, _planned_checks(planned[claim.id], known), planned[claim.id])
        for claim in claims
        if claim.id in wanted
    ]


def _tested_at_once(
    claims: Sequence[Claim], observations: Mapping[str, Observations], wanted: Collection[str]
) -> dict[str, list[CheckResult]]:
    """Rules 1: checks over all seeds that are there.

    Holm's correction runs over the claims that hold orderings, wanted or not, measured or not. Counting unmeasured
    ones (with p = 1) keeps a verdict from getting easier while results are missing.
    """
    evidence = [
        [
            rule.evaluate(observations[claim.protocol], observations)
            for rule in claim.checks
            if claim.id in wanted or rule.orders
        ]
        for claim in claims
    ]
    raw_for = [[e.p_reproduced for e in row if e.orders] for row in evidence]
    raw_against = [[e.p_deviates] for row in evidence for e in row if e.orders]
    corrected_for = iter([p for row in statistics.holm_over_groups([r for r in raw_for if r]) for p in row])
    corrected_against = iter([p for row in statistics.holm_over_groups(raw_against) for p in row])
    family = sum(1 for r in raw_for if r)
    tested: dict[str, list[CheckResult]] = {}
    for claim, row in zip(claims, evidence, strict=True):
        p = [
            (next(corrected_for), next(corrected_against)) if each.orders else (each.p_reproduced, each.p_deviates)
            for each in row
        ]
        if claim.id not in wanted:
            continue
        alpha = observations[claim.protocol].protocol.statistics.alpha
        tested[claim.id] = [
            _check(
                rule,
                each,
                observations[claim.protocol].protocol,
                *corrected,
                # The whole correction is taken, as if this claim stood first in Holm's order: an upper estimate.
                needed=partial(each.seeds_still_needed, alpha / (family if each.orders else 1)),
            )
            for rule, each, corrected in zip(claim.checks, row, p, strict=True)
        ]
    return tested


def _planned_checks(judged: Judged, protocols: Mapping[str, Protocol]) -> list[CheckResult]:
    """Rules 2: checks as the last look leaves them. p values are scaled so that alpha is where the look decides."""
    protocol = protocols[judged.claim.protocol]
    alpha, following = protocol.statistics.alpha, _looks_left(judged, protocol)
    needed = following[0] - judged.seeds_done if following else None
    holds = judged.verdict != "deviates" and judged.waits_for is None
    untested = ""
    if not judged.look:
        untested = f"not tested before {protocol.statistics.looks[0].seeds} seeds (planned look)"
    elif judged.waits_for is not None:
        untested = f"not tested before {judged.waits_for} holds"
        if judged.in_vain:
            untested += ", which it can no more"
            untested += "; further seeds can only show that this deviates" if following else ""
    return [
        _check(
            rule,
            each,
            protocol,
            _scaled(each.p_reproduced, alpha, judged.level_for) if holds else 1.0,
            _scaled(against, alpha, judged.level_against) if judged.verdict != "reproduced" else 1.0,
            needed=lambda: needed,
            untested=untested,
            tested_against=judged.look > 0,
        )
        for rule, each, against in zip(judged.claim.checks, judged.rows, judged.each_against, strict=True)
    ]


def _looks_left(judged: Judged, protocol: Protocol) -> tuple[int, ...]:
    """Seeds of the planned looks that a claim has not reached."""
    return tuple(look.seeds for look in protocol.statistics.looks if look.seeds > judged.seeds_done)


def _scaled(p: float, alpha: float, level: float) -> float:
    """A p value as it would be at level alpha instead of `level`; 1 where it was not tested."""
    return min(1.0, p * alpha / level) if level else 1.0


def _check(
    rule: Rule,
    evidence: Evidence,
    protocol: Protocol,
    p_for: float,
    p_against: float,
    needed: Callable[[], int | None],
    untested: str = "",
    tested_against: bool = True,
) -> CheckResult:
    alpha = protocol.statistics.alpha
    if not untested and len(evidence.seeds) == 1:
        untested, tested_against = "not tested with 1 seed", False
    verdict = evidence.verdict(alpha, p_for, p_against)
    shown = evidence.centre or (evidence.weakest if evidence.items else None)
    low, high = shown.interval(alpha) if shown else (math.nan, math.nan)
    settled = verdict in ("reproduced", "deviates")
    return CheckResult(
        rule=rule.statement(protocol),
        window=rule.window_text(shown, protocol) if shown else "",
        measured=rule.measured_text(evidence, protocol),
        estimate=_finite(shown.estimate.mean) if shown else None,
        low=_finite(low),
        high=_finite(high),
        p_reproduced=p_for if evidence.seeds and not untested else None,  # nothing is left to chance without seeds
        p_deviates=p_against if evidence.seeds and tested_against else None,
        seeds=evidence.seeds,
        verdict=verdict,
        seeds_still_needed=None if settled else needed(),
        failures=evidence.failures,
        scale=rule.scale,
        bounds=(_finite(shown.low), _finite(shown.high)) if shown else (None, None),
        margin=rule.margin(protocol),
        untested="" if settled or not evidence.seeds else untested,
    )


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def combined(verdicts: Sequence[Verdict], contradicted: Collection[int] = ()) -> Verdict:
    """The verdict of a claim from those of its checks; `contradicted`: those that the paper's own data contradicts."""
    deviating = {number for number, verdict in enumerate(verdicts, start=1) if verdict == "deviates"}
    if deviating:
        return "contradicted" if deviating <= set(contradicted) else "deviates"
    if "not measured" in verdicts:
        return "not measured"
    return "reproduced" if all(v == "reproduced" for v in verdicts) else "inconclusive"


def _decision(
    paper: Published,
    claim: Claim,
    observations: Mapping[str, Observations],
    checks: Sequence[CheckResult],
    judged: Judged | None,
) -> Decision:
    protocol = observations[claim.protocol].protocol
    verdict = combined([check.verdict for check in checks], claim.own_data.checks if claim.own_data else ())
    open_ = [c.seeds_still_needed for c in checks if c.verdict in UNDECIDED]
    needed = [n for n in open_ if n is not None]
    rests_on = any(claim.cells.values())
    decided = verdict not in UNDECIDED
    return Decision(
        paper=paper.paper.key,
        protocol=protocol.id,
        claim=claim.id,
        statement=claim.statement,
        published=claim.published,
        source=claim.source,
        note=_note(claim),
        measured="; ".join(dict.fromkeys(check.measured for check in checks)),
        seeds=f"{seeds_text([len(c.seeds) for c in checks])} of {len(protocol.seeds)}" if rests_on else "none needed",
        waits_for=judged.waits_for if judged else None,
        verdict=verdict,
        seeds_still_needed=None if decided or len(needed) < len(open_) else max(needed),
        # A verdict at a planned look is final: its error level is spent as planned, and no run is missing for it.
        runs_missing=0
        if decided and judged
        else sum(observations[name].missing(cells) for name, cells in claim.cells.items()),
        checks=tuple(checks),
        failures=tuple(dict.fromkeys(text for check in checks for text in check.failures)),
        patterns=tuple(pattern for name in claim.cells for pattern in _patterns(claim, observations[name].protocol)),
        cells=claim.cells,
        part_of=claim.part_of,
        stated_by=claim.stated_by,
        looks_left=_looks_left(judged, protocol) if judged else None,
        decided_at=protocol.statistics.looks[judged.look - 1].seeds if judged and judged.look and decided else None,
        seeds_measured=judged.seeds_done if judged else 0,
    )


def _note(claim: Claim) -> str | None:
    """The claim's note, with what of the paper's own data contradicts it."""
    own = f"the paper's own data: {claim.own_data.evidence}" if claim.own_data else None
    return "; ".join(part for part in (claim.note, own) if part) or None


def _patterns(claim: Claim, protocol: Protocol) -> tuple[str, ...]:
    methods = {method for method, _ in claim.cells[protocol.id]}
    return tuple(f"{protocol.id}:{method}" for method in method_names(protocol) if method in methods)


INTERNAL = ("cells", "part_of", "looks_left", "decided_at", "seeds_measured")
"""Fields of a decision that its JSON does not have."""


def to_json(decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    """Plain JSON types, with the re-run command. Densities in levels, ratios on the natural log scale."""
    documents = [{**asdict(d), "command": d.command, "provisional": d.provisional} for d in decisions]
    for document in documents:
        checks = document["checks"]
        document["checks"] = [_without(check, ("scale", "bounds", "margin", "untested")) for check in checks]
    return [_without(document, INTERNAL) for document in documents]


def _without(document: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}
