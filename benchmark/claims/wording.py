"""Rules and evidence in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmark.claims.evidence import Evidence, Item, Scale
from benchmark.claims.format import number, points_text
from benchmark.claims.rules.accuracy import (
    Between,
    Curve,
    Difference,
    LargestGain,
    LayerShare,
    Ordering,
    Peak,
    Ratio,
    Rule,
    Threshold,
    Value,
)
from benchmark.claims.rules.base import Sample
from benchmark.claims.rules.masks import mask_item_text, mask_rule_text, mask_window_text
from benchmark.protocols import Protocol
from benchmark.protocols.cells import density_text
from benchmark.records.schema import Metric

METRICS: dict[Metric, str] = {
    "early-stop-accuracy": "test accuracy at early stop",
    "last-accuracy": "final test accuracy",
    "best-accuracy": "best test accuracy",
    "train-accuracy": "final training accuracy",
    "early-stop-step": "early-stop step",
    "empty-layers": "empty layers",
    "layer-density": "density by layer",
    "unit-error": "error of conservation",
    "score-slope": "slope of mean scores",
    "prune-to-cut": "score removed over a layer's",
    "layer-share": "share of the weights",
}


SHORT: dict[Metric, str] = {
    "early-stop-accuracy": "accuracy",
    "last-accuracy": "final accuracy",
    "best-accuracy": "best accuracy",
    "train-accuracy": "training accuracy",
    "early-stop-step": "early stop",
    "empty-layers": "collapse",
    "layer-density": "density",
    "unit-error": "conservation",
    "score-slope": "slope",
    "prune-to-cut": "removed over cut",
    "layer-share": "share",
}


def sample_text(sample: Sample) -> str:
    """A published mean with what is known of its spread."""
    if sample.values is not None:
        mean = sum(sample.values) / len(sample.values)
        return f"{number(mean)} (mean of {', '.join(number(v, 1) for v in sample.values)})"
    assert sample.mean is not None  # the model's validator sees to it
    runs = "n not stated" if sample.n is None else f"n = {sample.n}"
    spread = f" ± {number(sample.sd)} sd, {runs}" if sample.sd is not None else ""
    return f"{number(sample.mean)}{spread}"


def rule_text(rule: Rule, protocol: Protocol) -> str:
    """What is tested, in one sentence."""
    metric = METRICS[rule.metric]
    match rule:
        case Value():
            text = f"{metric} of {points_text(protocol, rule.of)} equals {sample_text(rule.published)}"
        case Curve():
            text = f"{metric} of {points_text(protocol, rule.of)} equals the published {_runs_text(rule)}"
        case Difference():
            sides = f"{points_text(protocol, rule.higher)} minus {points_text(protocol, rule.lower)}"
            relation = "equals" if rule.bound == "equal" else "is at least"
            text = f"{metric}: {sides} {relation} {number(rule.published)} points"
        case Between():
            sides = f"{points_text(protocol, rule.higher)} minus {points_text(protocol, rule.lower)} of {rule.protocol}"
            relation = "equals" if rule.bound == "equal" else "is at least"
            text = f"{metric}: {sides}, unpaired, {relation} {number(rule.published)} points"
        case LargestGain():
            text = f"{metric}: the largest gain of {points_text(protocol, rule.of)} over dense equals {rule.published}"
        case Ratio():
            sides = f"{points_text(protocol, rule.numerator)} over {points_text(protocol, rule.denominator)}"
            within = f"within {100 * protocol.statistics.margins.ratio:.0f} % relative"
            text = f"{metric}: {sides} equals {rule.published} {within}"
        case Ordering():
            text = f"{metric}: {_ordering_text(rule, protocol)}"
        case Peak():
            window = " to ".join(density_text(protocol, level) for level in (rule.window.first, rule.window.last))
            text = f"{metric} of {rule.of.method} is {rule.extreme} at {window}, against every block of equal width"
        case Threshold():
            tolerance = protocol.statistics.margins.density_rounds
            window = bracket(protocol, rule.published[0] - tolerance, rule.published[1] + tolerance)
            after = "below" if rule.before == "above" else "above"
            text = f"{metric} of {rule.of.method} goes from {rule.before} dense to {after} it at {window}, "
            text += "and nowhere else lies on the wrong side by more than the margin"
        case LayerShare():
            text = f"the share of the weights in {', '.join(rule.layers)} is {rule.published:g} %, to the last digit"
        case _:
            text = mask_rule_text(rule, protocol)
    return text


def _runs_text(rule: Curve) -> str:
    if rule.width > 1:
        return f"rounds in averages of {rule.width} neighbouring levels"
    return "runs at every level"


def _ordering_text(rule: Ordering, protocol: Protocol) -> str:
    relation = "is later than" if rule.metric == "early-stop-step" else "is above"
    sides = f"{points_text(protocol, rule.higher)} {relation} {points_text(protocol, rule.lower)}"
    if rule.over == "average":
        return f"{sides}, on average"
    return f"{sides}, in every average of {rule.width} neighbouring levels" if rule.width > 1 else sides


def bracket(protocol: Protocol, low: float, high: float) -> str:
    """The measured densities just around a stretch of the level axis."""
    last = len(protocol.level_table) - 1
    ends = (max(0, math.floor(low + 1e-9)), min(last, math.ceil(high - 1e-9))) if math.isfinite(low) else (0, last)
    texts = [density_text(protocol, level) for level in ends]
    return " to ".join(dict.fromkeys(texts))


def window_text(item: Item, scale: Scale, protocol: Protocol) -> str:
    """Where a quantity must lie, in the unit of its scale."""
    if scale == "rounds":
        return bracket(protocol, item.low, item.high)
    if scale == "percent":
        return f"{number(item.low, 1)} to {number(item.high, 1)} %"
    if scale not in ("points", "log-ratio"):
        return mask_window_text(item, scale)
    low, high = (_exp(item.low), _exp(item.high)) if scale == "log-ratio" else (item.low, item.high)
    return f"{number(low)} to {number(high)}" if math.isfinite(high) else f"more than {number(low)}"


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf


def item_text(item: Item, scale: Scale, alpha: float) -> str:
    """Mean and 1 - alpha t interval of an item."""
    low, high = item.interval(alpha)
    if scale == "log-ratio":
        return f"ratio {number(math.exp(item.estimate.mean))} [{number(_exp(low))}, {number(_exp(high))}]"
    if scale == "percent":
        return f"{number(item.estimate.mean, 1)} %"
    if scale != "points":
        return mask_item_text(item, scale, alpha)
    mean = number(item.estimate.mean, sign=True)
    text = f"{mean} points [{number(low, sign=True)}, {number(high, sign=True)}]"
    return text if item.measured is None else f"{number(item.measured)}, off by {text}"


def evidence_text(rule: Rule, evidence: Evidence, protocol: Protocol) -> str:
    """What was measured on one check: the deciding quantity with its interval."""
    if not evidence.found:
        return "not measured"
    alpha = protocol.statistics.alpha
    name = SHORT[rule.metric]
    if evidence.centre is not None:
        found = evidence.centre.estimate.mean
        low, high = evidence.centre.interval(alpha)
        at = bracket(protocol, found, found)
        beyond = "at or beyond " if evidence.censored_at == found else ""
        return f"{name} crosses dense {beyond or 'at '}{at} [{bracket(protocol, low, high)}]"
    item = evidence.weakest
    text = item_text(item, evidence.scale, alpha)
    if len(evidence.items) > 1:
        text += f" {item.where}, weakest of {len(evidence.items)}"
    return f"{name}{' peak' if isinstance(rule, Peak) else ''}: {text}"


def needed_text(needed: int | None) -> str:
    """What an open claim needs; None: 1,000 further seeds would not do."""
    if needed is None:
        return "more seeds will hardly decide"
    return f"about {needed} more seed{'s' if needed != 1 else ''}"


def seeds_text(counts: Sequence[int]) -> str:
    """Number of seeds behind several checks."""
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
