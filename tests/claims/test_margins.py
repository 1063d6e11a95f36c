"""No margin is as wide as the effect that it is to show: a claim could then hold where there is no effect at all."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from statistics import fmean

import pytest

from benchmark import protocols
from benchmark.claims import papers
from benchmark.claims.observations import all_gathered
from benchmark.claims.published import Claim
from benchmark.claims.rules.base import Rule
from benchmark.claims.rules.cells import listed
from benchmark.claims.rules.collapse import Collapse, Disconnection
from benchmark.claims.rules.compare import Between, Difference, Ratio
from benchmark.claims.rules.layer_density import LayerDensity
from benchmark.claims.rules.sampling import ANALYSED, claimed_margin
from benchmark.claims.rules.shape import LargestGain
from benchmark.claims.rules.value import Curve, Value
from benchmark.claims.rules.window import Crossing
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


VALUES = [(claim, rule) for claim in CLAIMS for rule in claim.checks if isinstance(rule, Value)]
ANALYSED_VALUES = [(c, rule) for c, rule in VALUES if rule.metric.startswith(ANALYSED) and rule.published.mean]


@pytest.mark.parametrize(("claim", "rule"), ANALYSED_VALUES, ids=[claim.id for claim, _ in ANALYSED_VALUES])
def test_no_window_of_an_analysed_value_reaches_nothing(claim: Claim, rule: Value) -> None:
    """Runs that do not differ at all must not pass for runs that disagree a little."""
    assert (rule.within or margin(rule, PROTOCOLS[claim.protocol])) < abs(rule.published.mean)


def test_a_margin_of_the_rules_own_is_narrower() -> None:
    protocol = PROTOCOLS["evci/lenet5-mnist"]
    (rule,) = (r for c, r in VALUES if c.id == "evci-4" and r.within)
    assert not list(rule.misfits(protocol))
    wide = rule.model_copy(update={"within": 0.2})
    assert list(wide.misfits(protocol)) == ["within 0.2 is not narrower than the margin of evci/lenet5-mnist, 0.2"]
    assert rule.statement(protocol).endswith("equals 0.06 within 0.05")


def test_effects_are_found_in_many_claims() -> None:
    assert len(CLAIMED) > 30
    assert {type(rule) for _, rule, _ in CLAIMED} == {Ratio, Difference, Between, LargestGain}


def widest(rule: Rule, protocol: Protocol) -> float | None:
    """The most that half a window may be where a check states no amount but a place, a curve or densities by layer:
    beyond it, the window holds what other methods, or no effect at all, would show. None for other rules."""
    if isinstance(rule, (Collapse, Disconnection)):
        return 0.5  # decades of compression: methods collapse 0.6 to 2.6 apart (Fig. 1 of SynFlow's paper)
    if isinstance(rule, LayerDensity):
        return math.log(2)  # of a layer's density: those of released masks differ by factors of ten and more
    if isinstance(rule, Crossing):
        return len(listed(rule.of.levels)) / 4  # half a window in rounds: half of the levels looked at stay outside
    if isinstance(rule, Curve):
        means = [fmean(runs) for runs in rule.published_runs(protocol).values()]
        return (max(means) - min(means)) / 4
    return None


@pytest.mark.long
def test_no_verdict_rests_on_a_window_that_holds_no_effect() -> None:
    """Of the committed records: what a measured or published deviation widens is in these windows."""
    results = Path(__file__).parents[2] / "results"
    seen = all_gathered(list(PROTOCOLS.values()), [Store(results)])
    by_id = {claim.id: claim for claim in CLAIMS}
    looked_at: Counter[str] = Counter()
    for paper in papers.load_all():
        for decision in decide_paper(paper, seen):
            if decision.verdict not in ("reproduced", "deviates", "contradicted"):
                continue
            for rule, check in zip(by_id[decision.claim].checks, decision.checks, strict=True):
                low, high = check.bounds
                if effect(rule) is not None and rule.metric != "early-stop-step":
                    looked_at[rule.rule] += 1
                    assert (low is not None and low > 0) or (high is not None and high < 0), decision.claim
                elif (most := widest(rule, PROTOCOLS[decision.protocol])) is not None:
                    assert low is not None
                    assert high is not None
                    looked_at[rule.rule] += 1
                    assert (high - low) / 2 <= most, decision.claim
    assert looked_at.keys() >= {"difference", "crossing", "curve", "disconnection", "layer-density"}, looked_at
    assert looked_at.total() > 25
