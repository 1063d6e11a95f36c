"""No margin is as wide as the effect that it is to show: a claim could then hold where there is no effect at all."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmark import protocols
from benchmark.claims import papers
from benchmark.claims.observations import all_gathered
from benchmark.claims.published import Claim
from benchmark.claims.rules.base import Rule
from benchmark.claims.rules.compare import Between, Difference, Ratio
from benchmark.claims.rules.sampling import ANALYSED, claimed_margin
from benchmark.claims.rules.shape import LargestGain
from benchmark.claims.verdicts import decide_paper
from benchmark.protocols import Protocol
from benchmark.records.store import Store

PROTOCOLS = {protocol.id: protocol for protocol in protocols.load_all()}
CLAIMS = [claim for paper in papers.load_all() for claim in paper.claims]


def effect(rule: Rule) -> float | None:
    """The effect that a check claims, on the scale of its margin; None if it claims none, or none with a number."""
    if isinstance(rule, Ratio):
        return abs(math.log(rule.published)) or None
    if isinstance(rule, (Difference, Between)):
        return None if rule.bound == "above" else abs(rule.published) or None
    return abs(rule.published) if isinstance(rule, LargestGain) else None


def margin(rule: Rule, protocol: Protocol) -> float:
    """The fixed one of the protocol, on that scale; rules 2 never takes more than half of the effect."""
    margins = protocol.statistics.margins
    if isinstance(rule, Ratio):
        return math.log1p(margins.ratio)
    metric = str(rule.metric)
    return margins.analysed[metric.removeprefix(ANALYSED)] if metric.startswith(ANALYSED) else margins.accuracy_points


CLAIMED = [(claim, rule, size) for claim in CLAIMS for rule in claim.checks if (size := effect(rule)) is not None]


@pytest.mark.parametrize(
    ("claim", "rule", "size"), CLAIMED, ids=[f"{claim.id}-{claim.checks.index(rule)}" for claim, rule, _ in CLAIMED]
)
def test_every_margin_is_narrower_than_the_effect(claim: Claim, rule: Rule, size: float) -> None:
    protocol = PROTOCOLS[claim.protocol]
    fixed = margin(rule, protocol)
    taken = fixed if protocol.statistics.rules == 1 else claimed_margin(fixed, size)
    assert taken < size


def test_effects_are_found_in_many_claims() -> None:
    assert len(CLAIMED) > 30
    assert {type(rule) for _, rule, _ in CLAIMED} == {Ratio, Difference, Between, LargestGain}


@pytest.mark.long
def test_no_verdict_rests_on_a_window_that_holds_no_effect() -> None:
    """Of the committed records: what rules 1 widens by a measured deviation is in these windows."""
    results = Path(__file__).parents[2] / "results"
    seen = all_gathered(list(PROTOCOLS.values()), [Store(results)])
    by_id = {claim.id: claim for claim in CLAIMS}
    looked_at = 0
    for paper in papers.load_all():
        for decision in decide_paper(paper, seen):
            if decision.verdict not in ("reproduced", "deviates", "contradicted"):
                continue
            for rule, check in zip(by_id[decision.claim].checks, decision.checks, strict=True):
                low, high = check.bounds
                if effect(rule) is not None and rule.metric != "early-stop-step":
                    looked_at += 1
                    assert (low is not None and low > 0) or (high is not None and high < 0), decision.claim
    assert looked_at >= 2
