"""Every claim of which something is measured on one scale, for the board's picture and the HTML report. No torch.

The scale is margins. Where a claim is a number, 0 is the published value, and the claim holds between -1 and 1: the
protocol's margin on either side, as it was fixed before anything ran. Where it is an ordering, or another bound, 0 is
the bound, and the claim holds to the right of it; 1 is one margin of the protocol beyond.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from benchmark.claims.evidence import UNDECIDED, Verdict
from benchmark.claims.verdicts import CheckResult, Decision
from benchmark.report.stated import is_own

ORDER: tuple[Verdict, ...] = ("deviates", "contradicted", "reproduced", "inconclusive")
"""Rows by verdict: what does not hold first, what is open last."""


@dataclass(frozen=True)
class ForestRow:
    """One claim, by the check that its verdict hangs on. Numbers are in margins.

    `at`: the measured mean. `interval`: of 1 - alpha around it, an end None where it is infinite (one seed); None where
    there is none: a count, or a share of seeds. `two_sided`: whether the claim holds between -1 and 1, or from 0 up.
    `published`, `measured`, `window`: the same in the paper's unit, in words. `check` of `checks`: which one it is,
    from 1. `verdict`: of the claim; `spoken`: marked if it is provisional. `own`: a statement of this suite, see
    `Claim.stated_by`.
    """

    claim: str
    paper: str
    protocol: str
    statement: str
    published: str
    measured: str
    window: str
    seeds: str
    verdict: Verdict
    spoken: str
    at: float
    interval: tuple[float | None, float | None] | None
    two_sided: bool
    check: int
    checks: int
    own: bool

    @property
    def decided(self) -> bool:
        """Whether the claim has a verdict, and not only measurements."""
        return self.verdict not in UNDECIDED


def forest(decisions: Iterable[Decision]) -> list[ForestRow]:
    """Rows by verdict (`ORDER`), what papers state before what this suite asks, then by paper, then as its file has
    them; claims that have no number are left out, and so are those of which no check is measured."""
    rows = [row for decision in decisions if decision.verdict in ORDER and (row := _row(decision))]
    papers = list(dict.fromkeys(row.paper for row in rows))
    return sorted(rows, key=lambda row: (ORDER.index(row.verdict), row.own, papers.index(row.paper)))


def _row(decision: Decision) -> ForestRow | None:
    shown = [(number, check) for number, check in enumerate(decision.checks, start=1) if check.estimate is not None]
    if not shown:
        return None
    number, check = min(shown, key=lambda pair: (_weight(pair[1]), slack(pair[1]), pair[0]))
    scaled = _Scale.of(check)
    assert check.estimate is not None  # `shown` has no others
    return ForestRow(
        claim=decision.claim,
        paper=decision.paper,
        protocol=decision.protocol,
        statement=decision.statement,
        published=decision.published,
        measured=check.measured,
        window=check.window,
        seeds=decision.seeds,
        verdict=decision.verdict,
        spoken=decision.spoken_verdict,
        at=scaled(check.estimate),
        interval=_interval(check, scaled),
        two_sided=None not in check.bounds,
        check=number,
        checks=len(decision.checks),
        own=is_own(decision),
    )


def _weight(check: CheckResult) -> int:
    """Which of several checks the verdict hangs on: one that deviates, else one that is open, else any."""
    return ("deviates", "inconclusive", "not measured", "reproduced").index(check.verdict)


def slack(check: CheckResult) -> float:
    """How far the interval of a check, or its mean where there is none, stays inside its window, in margins; negative
    where it does not."""
    scaled = _Scale.of(check)
    assert check.estimate is not None  # asked of measured checks only
    low, high = _interval(check, scaled) or (scaled(check.estimate),) * 2
    left, right = -math.inf if low is None else low, math.inf if high is None else high
    return min(left + 1, 1 - right) if scaled.two_sided else left


@dataclass(frozen=True)
class _Scale:
    """From the scale of a rule to margins; turned around where the window is open to the left."""

    zero: float
    unit: float
    turned: bool
    two_sided: bool

    @staticmethod
    def of(check: CheckResult) -> _Scale:
        low, high = check.bounds
        if low is not None and high is not None:
            return _Scale((low + high) / 2, (high - low) / 2 or check.margin, turned=False, two_sided=True)
        bound = low if low is not None else high
        return _Scale(0.0 if bound is None else bound, check.margin, turned=low is None, two_sided=False)

    def __call__(self, x: float) -> float:
        return (self.zero - x if self.turned else x - self.zero) / self.unit


def _interval(check: CheckResult, scaled: _Scale) -> tuple[float | None, float | None] | None:
    """A share of seeds is tested as throws of a coin, and what is counted by none: neither has a t interval."""
    if check.scale == "share" or not check.seeds:
        return None
    ends = [None if x is None else scaled(x) for x in (check.low, check.high)]
    return (ends[1], ends[0]) if scaled.turned else (ends[0], ends[1])


def outside(row: ForestRow) -> float:
    """How many margins the mean lies outside the window; 0 inside."""
    return max(0.0, abs(row.at) - 1 if row.two_sided else -row.at)
