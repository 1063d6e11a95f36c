"""What the first page shows of claims: the forest plot as rows of a page, findings, and what is not measured yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from benchmark.claims.evidence import UNDECIDED, Verdict
from benchmark.claims.observations import Observations
from benchmark.claims.verdicts import Decision
from benchmark.report.board.missing import missing_for
from benchmark.report.board.protocol_pages import percent_text
from benchmark.report.board.questions import gain_text, headline_gains
from benchmark.report.forest import ForestRow, forest
from benchmark.report.stated import MARK, OWN, PUBLISHED, is_own, published_and_own

VERDICTS: tuple[Verdict, ...] = ("deviates", "contradicted", "reproduced", "inconclusive", "not measured")
"""What does not hold first, what nobody looked at last."""
WRONG: tuple[Verdict, ...] = ("deviates", "contradicted")
WIDTH, HEIGHT = 240, 24  # of the picture of one row, in its own units
REACH = 4.0  # margins on either side; what lies farther is drawn at the edge, as an arrow
HEADLINES = 2  # reproduced claims of a paper among the findings; papers' files name headline claims first


@dataclass(frozen=True)
class ForestMark:
    """One row of the forest plot: where the claim holds, and what was measured, as places in a picture of `WIDTH`.

    `band`, `bar`: from and to. `bar` is None where there is no interval. `more`: on which sides the interval goes on
    beyond the picture. `shape`: dot, diamond, or an arrow to the side on which the mean lies beyond it.
    """

    row: ForestRow
    band: tuple[float, float]
    bar: tuple[float, float] | None
    more: tuple[bool, bool]
    at: float
    shape: str


def marks(decisions: Sequence[Decision]) -> list[tuple[Verdict, list[ForestMark]]]:
    """The rows of the forest plot by verdict, what does not hold first."""
    return [(verdict, [_mark(row) for row in own]) for verdict, own in groupby(forest(decisions), lambda r: r.verdict)]


def _mark(row: ForestRow) -> ForestMark:
    low, high = row.interval or (0.0, 0.0)
    left, right = -2 * REACH if low is None else low, 2 * REACH if high is None else high
    inside = max(left, -REACH), min(right, REACH)
    shape = "diamond" if row.verdict in WRONG else "dot"
    if abs(row.at) > REACH:
        shape = "right" if row.at > 0 else "left"
    return ForestMark(
        row=row,
        band=(_x(-1), _x(1)) if row.two_sided else (_x(0), float(WIDTH)),
        bar=(_x(inside[0]), _x(inside[1])) if row.interval and inside[0] < inside[1] else None,
        more=(left < -REACH, right > REACH),
        at=_x(max(-REACH, min(REACH, row.at))),
        shape=shape,
    )


def _x(margins: float) -> float:
    return round(WIDTH * (margins + REACH) / (2 * REACH), 1)


def by_verdict(decisions: Sequence[Decision]) -> list[Decision]:
    """Decided claims first, in the order of `VERDICTS`; among equals as they stood."""
    return sorted(decisions, key=lambda d: VERDICTS.index(d.verdict))


def counts(decisions: Sequence[Decision]) -> dict[Verdict, int]:
    """How many have each verdict, all of `VERDICTS`."""
    return {verdict: sum(d.verdict == verdict for d in decisions) for verdict in VERDICTS}


def headline(decisions: Sequence[Decision]) -> list[tuple[str, dict[Verdict, int]]]:
    """What papers state, and what this suite asks besides if it does, each with how many have each verdict."""
    stated, own = published_and_own(decisions)
    return [(PUBLISHED, counts(stated)), *([(f"{OWN} ({MARK})", counts(own))] if own else [])]


def findings(decided: Sequence[Sequence[Decision]]) -> list[Decision]:
    """Of the claims of each paper all that do not hold, and the first that do; what does not hold in front, and of it
    what papers state."""
    wrong = sorted((d for found in decided for d in found if d.verdict in WRONG), key=is_own)
    held = [d for found in decided for d in [d for d in found if d.verdict == "reproduced"][:HEADLINES]]
    return [*wrong, *held]


def most_evidence(seen: Sequence[Observations], decisions: Sequence[Decision]) -> Observations | None:
    """The protocol that trains and decides most claims; among equals, that with most records."""
    decided = {d.claim: d.protocol for d in decisions if d.verdict not in UNDECIDED}
    with_records = [o for o in seen if o.records and o.protocol.trains]
    if not with_records:
        return None
    return max(with_records, key=lambda o: (list(decided.values()).count(o.protocol.id), len(o.records)))


def cost_to_decide(decisions: Sequence[Decision], seen: Mapping[str, Observations]) -> str:
    """What the planned runs that open claims rest on still cost, in words: the board's numbers, for one or many."""
    missing = missing_for(decisions, seen)
    if not missing.runs:
        return "no planned run is missing"
    return f"{counted(missing.runs, 'run')}, {missing.hours} core-hours"


def counted(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class GainFinding:
    """What iterative magnitude pruning gains over the best method whose mask is decided before training, in words."""

    protocol: str
    density: str
    text: str


def gains(seen: Sequence[Observations]) -> list[GainFinding]:
    """The same that the board's first page shows."""
    return [
        GainFinding(given.seen.protocol.id, percent_text(given.density), gain_text(given))
        for given in headline_gains(seen)
    ]
