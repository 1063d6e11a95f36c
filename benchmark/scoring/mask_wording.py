"""Rules on masks, and what they found, in words. No torch."""

from __future__ import annotations

import math

from benchmark.protocol import Protocol
from benchmark.published.mask_rules import Collapse, Emptied, FirstEmpty, LayerDensity, MaskRule, ScoreProperty
from benchmark.scoring.evidence import Item, Scale
from benchmark.scoring.numerals import MINUS, number, points_text


def mask_rule_text(rule: MaskRule, protocol: Protocol) -> str:
    """What is tested, in one sentence."""
    where, margins = points_text(protocol, rule.of), protocol.statistics.margins
    spread = f"{margins.seed_sd_multiple:g} sd of the published runs"
    match rule:
        case Emptied():
            return f"{'some layer is' if rule.expected == 'empty' else 'no layer is'} empty in {where}"
        case FirstEmpty():
            return f"the first layers to empty in {where} are among {', '.join(rule.layers)}"
        case Collapse():
            window = f"one step of the grid, or {spread} if that is more"
            return f"the largest compression without an empty layer, of {where}, is the published one, within {window}"
        case LayerDensity():
            window = f"within {100 * margins.ratio:.0f} % relative, or {spread} if that is more"
            return f"every layer's density in {where} is the published one, {window}"
        case ScoreProperty():
            return f"{_property_text(rule, protocol)}, in {where}"


def _property_text(rule: ScoreProperty, protocol: Protocol) -> str:
    if rule.metric == "unit-error":
        margin = protocol.statistics.margins.exact
        equal = "" if margin is None else f", to {margin:g} relative"
        return f"scores into and out of every hidden unit sum to the same{equal}"
    if rule.metric == "score-slope":
        return "a layer's mean score goes as its size to the power of -1"
    bound = "less" if rule.within == "below-1" else "more"
    return f"the worst round removes {bound} score than the smallest layer has"


def mask_window_text(item: Item, scale: Scale) -> str:
    """Where a quantity must lie."""
    if scale == "share":
        return "more than half of the seeds"
    if scale == "log10":
        return f"below 10^{number(item.high, 0)}"
    if scale == "decades":
        return f"{number(item.low, sign=True)} to {number(item.high, sign=True)} decades"
    return f"{number(item.low)} to {number(item.high)}"


def mask_item_text(item: Item, scale: Scale, alpha: float) -> str:
    """Mean and 1 - alpha t interval of an item."""
    low, high = item.interval(alpha)
    mean = item.estimate.mean
    if scale == "share":
        return f"{round(mean * item.estimate.n)} of {item.estimate.n} seeds"
    if scale == "log10":
        return f"error 10^{number(mean, 1)}"
    bounds = f"[{number(low, sign=True)}, {number(high, sign=True)}]"
    if scale == "decades":
        off = f"off by {number(mean, sign=True)} decades {bounds}"
        return off if item.measured is None else f"10^{number(item.measured)}, {off}"
    return f"{number(mean)} {bounds}" if math.isfinite(mean) else MINUS
