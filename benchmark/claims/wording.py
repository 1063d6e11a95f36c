"""Numbers, cells, metrics and tested quantities as text, for whatever shows a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmark.claims.evidence import Item, Scale
from benchmark.claims.rules.cells import Points, listed
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
    "disconnected": "no path from input to output",
    "effective-density": "density of weights on some path",
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
    "disconnected": "disconnected",
    "effective-density": "effective density",
    "unit-error": "conservation",
    "score-slope": "slope",
    "prune-to-cut": "removed over cut",
    "layer-share": "share",
}


ACRONYMS = frozenset({"psnr", "cka", "cca", "pwcca", "svcca"})


def metric_words(metric: Metric) -> str:
    """A metric in words; a number of an analysis by its own name, acronyms in capitals."""
    if (words := METRICS.get(metric)) is not None:
        return words
    names = metric.partition("/")[2].split("_")
    return " ".join(name.upper() if name in ACRONYMS else name for name in names)


def short_words(metric: Metric) -> str:
    """The same, as short as can be."""
    return SHORT.get(metric) or metric_words(metric)


MINUS = "\N{MINUS SIGN}"
ROUNDING = 1e-12  # of float64 sums of the numbers that analyses give


def number(x: float, digits: int = 2, sign: bool = False) -> str:
    """A number with a true minus sign; infinity as the symbol; no negative zero."""
    if not math.isfinite(x):
        return "∞" if x > 0 else f"{MINUS}∞"
    text = f"{x:{'+' if sign else ''}.{digits}f}"
    if float(text) == 0:
        text = text.replace("-", "+" if sign else "")
    return text.replace("-", MINUS)


def percent(share: float, digits: int) -> str:
    """A share in percent to so many significant digits, never with an exponent: 98, 4.21, 0.00123."""
    return f"{float(f'{100 * share:.{digits}g}'):.10f}".rstrip("0").rstrip(".")


def figures(x: float, sign: bool = False) -> str:
    """An analysis's number: four significant digits, whatever its size; a difference (`sign`) that is rounding is 0."""
    if not math.isfinite(x) or x == 0 or (sign and abs(x) < ROUNDING):
        return number(x, 0)
    return f"{x:{'+' if sign else ''}.4g}".replace("-", MINUS)


def points_text(protocol: Protocol, points: Points) -> str:
    """A method with its densities in the paper's unit."""
    levels = listed(points.levels)
    if levels == (0,):
        return f"{points.method} of the dense network" if points.of_analysis else "dense"
    texts = [density_text(protocol, level) for level in levels]
    consecutive = len(levels) > 2 and levels == tuple(range(levels[0], levels[-1] + 1))
    return f"{points.method} at {texts[0]} to {texts[-1]}" if consecutive else f"{points.method} at {', '.join(texts)}"


def bracket(protocol: Protocol, low: float, high: float) -> str:
    """The measured densities just around a stretch of the level axis."""
    last = len(protocol.level_table) - 1
    ends = (max(0, math.floor(low + 1e-9)), min(last, math.ceil(high - 1e-9))) if math.isfinite(low) else (0, last)
    texts = [density_text(protocol, level) for level in ends]
    return " to ".join(dict.fromkeys(texts))


def window_on_scale(item: Item, scale: Scale, protocol: Protocol) -> str:
    """Where the quantity of an item must lie, in the unit of its scale."""
    low, high = (_exp(item.low), _exp(item.high)) if scale == "log-ratio" else (item.low, item.high)
    if scale == "rounds":
        return bracket(protocol, low, high)
    if scale == "percent":
        return f"{number(low, 1)} to {number(high, 1)} %"
    if scale == "analysed" or item.is_level:
        return f"{_between(figures(low), figures(high), low, high)}{_unit(item, item.is_level)}"
    if scale == "decades":
        return f"{number(low, sign=True)} to {number(high, sign=True)} decades"
    fixed = {"share": "more than half of the seeds", "log10": f"below 10^{number(high, 0)}"}
    return fixed.get(scale) or _between(number(low), number(high), low, high)


def _between(least: str, most: str, low: float, high: float) -> str:
    """A window in words, from its ends as text; an infinite one is not named."""
    if not math.isfinite(low):
        return f"less than {most}"
    return f"{least} to {most}" if math.isfinite(high) else f"more than {least}"


def _unit(item: Item, level: bool) -> str:
    """The unit of an item's numbers: of percentages `%`, but of their differences (`level` false) percentage points."""
    if item.unit == "percent":
        return " %" if level else " percentage points"
    return f" {item.unit}" if item.unit else ""


IDENTICAL = "identical in all seeds"
"""Instead of an interval, which would be that of the grid of values and not of what was measured."""


def value_on_scale(item: Item, scale: Scale, alpha: float) -> str:  # noqa: PLR0911 - one for each kind of scale
    """Mean and 1 - alpha t interval of an item, in the unit of its scale; no interval where all seeds agree."""
    mean, (low, high) = item.estimate.mean, item.interval(alpha)
    if scale == "share":
        return f"{round(mean * item.estimate.n)} of {item.estimate.n} seeds"
    if scale in ("percent", "log10"):
        return f"{number(mean, 1)} %" if scale == "percent" else f"error 10^{number(mean, 1)}"
    if scale == "log-ratio":
        return f"ratio {number(math.exp(mean))}{_bounds(item, number(_exp(low)), number(_exp(high)))}"
    if item.is_level:
        form = figures if scale == "analysed" else number
        return f"{form(mean)}{_unit(item, level=True)}{_bounds(item, form(low), form(high))}"
    if scale == "analysed":
        return _analysed(item, low, high)
    bounds = _bounds(item, number(low, sign=True), number(high, sign=True))
    if scale not in ("points", "decades"):
        return f"{number(mean)}{bounds}" if math.isfinite(mean) else MINUS
    text = f"{number(mean, sign=True)} {scale}{bounds}"
    if item.measured is not None:
        base = "10^" if scale == "decades" else ""
        return f"{base}{number(item.measured)}, off by {text}"
    return f"off by {text}" if scale == "decades" else text


def _bounds(item: Item, low: str, high: str) -> str:
    return f", {IDENTICAL}" if item.estimate.identical else f" [{low}, {high}]"


def _analysed(item: Item, low: float, high: float) -> str:
    bounds = _bounds(item, figures(low, sign=True), figures(high, sign=True))
    text = f"{figures(item.estimate.mean, sign=True)}{_unit(item, level=False)}{bounds}"
    measured_unit = " %" if item.unit == "percent" else ""
    return text if item.measured is None else f"{figures(item.measured)}{measured_unit}, off by {text}"


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf


def needed_text(needed: int | None, looks_left: Sequence[int] | None = None, complete: bool = False) -> str:
    """What an open claim needs. `needed`: further seeds; None: 1,000 would not do. `looks_left`: where it is decided
    at planned looks (rules 2), the seeds of those to come, before which nothing is tested. `complete`: whether every
    planned run is there."""
    if looks_left is not None:
        return f"next look at {looks_left[0]} seeds" if looks_left else "no planned look left"
    left = "no planned seed left, " if complete else ""
    if needed is None:
        return left + "more seeds will hardly decide"
    return f"{left}about {needed} more seed{'s' if needed != 1 else ''}"


def seeds_text(counts: Sequence[int]) -> str:
    """Number of seeds behind several checks."""
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
