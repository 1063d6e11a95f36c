"""Series as Plotly charts: plain JSON documents, with colours left to the page's theme where they depend on it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.claims.observations import ANALYSED
from benchmark.claims.wording import metric_words
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, axis_name
from benchmark.report.html.looks import Look
from benchmark.report.html.series import CurvePoint, LayerMap, Learning, Line, PublishedLine

Chart = dict[str, Any]

BAND_FROM = 30  # levels beyond which bars would hide the curve
TICKS_APART = 1.5  # ratio of neighbouring labels on a log axis


def curves(
    protocol: Protocol,
    metric: str,
    lines: Sequence[Line],
    dense: Line,
    published: Sequence[PublishedLine],
    looks: Mapping[str, Look],
) -> Chart:
    """A metric against density: measured means with intervals, the dense network, and what was published.

    The axis is in the paper's unit. The dense network is a level line with the band of its interval.
    """
    traces = list(_dense(dense, [*lines, *published], looks[DENSE]))
    for theirs in published:
        traces += _published(theirs, looks[theirs.method])
    for ours in lines:
        traces += _measured(ours, looks[ours.method])
    return {"data": traces, "layout": _layout(protocol, metric, [*lines, *published]), "kind": "curves"}


def _layout(protocol: Protocol, metric: str, lines: Sequence[Line | PublishedLine]) -> dict[str, Any]:
    title, plain = metric_words(metric), metric.startswith(ANALYSED) or metric in ("early-stop-step", "empty-layers")
    y = {"title": {"text": title if plain else f"{title}, %"}}
    x: dict[str, Any] = {"title": {"text": axis_name(protocol)}}
    if protocol.reports_density_as == "percent-remaining":
        places = sorted({p.x for line in lines for p in line.places if p.x > 0}, reverse=True)
        shown = _spaced(places)
        x |= {"type": "log", "tickvals": shown, "ticktext": [f"{v:.3g}" for v in shown]}
        x["range"] = [2.02, math.log10(places[-1]) - 0.05] if places else [2.02, 0]
    return {"xaxis": x, "yaxis": y}


def _spaced(places: Iterable[float]) -> list[float]:
    """Values on a falling log axis far enough apart for their labels."""
    shown: list[float] = [100.0]
    for value in places:
        if value < shown[-1] / TICKS_APART:
            shown.append(value)
    return shown


def _dense(dense: Line, lines: Sequence[Line | PublishedLine], look: Look) -> Iterable[Chart]:
    """The dense network as a level line across the measured range, with the band of its interval."""
    xs = [p.x for line in lines for p in line.places]
    if dense.places and xs:
        ours = dense.places[0]
        ends = sorted({ours.x, min(xs), max(xs)})
        trace: Chart = {
            "type": "scatter", "mode": "lines", "name": "dense", "method": "dense", "x": ends,
            "y": [ours.mean] * len(ends), "text": [_hover(ours)] * len(ends),
            "hovertemplate": "dense<br>%{text}<extra></extra>",
            "line": {"color": look.colour, "width": look.width, "dash": look.dash},
        }  # fmt: skip
        if ours.low is not None and ours.high is not None:
            trace["band"] = {"low": [ours.low] * len(ends), "high": [ours.high] * len(ends)}
        yield trace


def _measured(line: Line, look: Look) -> list[Chart]:
    trace: Chart = {
        "type": "scatter", "mode": "lines+markers", "name": line.method, "method": line.method,
        "x": [p.x for p in line.places], "y": [p.mean for p in line.places],
        "text": [_hover(p) for p in line.places], "hovertemplate": f"{line.method}<br>%{{text}}<extra></extra>",
        "line": {"color": look.colour, "dash": look.dash, "width": look.width},
        "marker": {"color": look.colour, "symbol": look.marker, "size": 7},
    }  # fmt: skip
    if len(line.places) <= BAND_FROM:
        bars = [((p.high - p.mean) if p.high is not None else 0.0) for p in line.places]
        trace["error_y"] = {"type": "data", "array": bars, "color": look.colour, "thickness": 1, "width": 3}
        return [trace]
    # A marker on each of a hundred levels would be a smear; a few of them still tell the methods apart.
    trace["marker"]["maxdisplayed"] = 12
    trace["band"] = {"low": [_low(p) for p in line.places], "high": [_high(p) for p in line.places]}
    return [trace]


def _published(line: PublishedLine, look: Look) -> list[Chart]:
    """Small faint markers without a line, so that what was measured stays in front."""
    trace: Chart = {
        "type": "scatter", "mode": "markers", "name": f"{line.method}, published", "method": line.method,
        "published": True, "x": [p.x for p in line.places], "y": [p.mean for p in line.places],
        "text": [f"{p.mean:.2f} published at {p.density}<br>{line.spread}" for p in line.places],
        "hovertemplate": f"{line.method}<br>%{{text}}<extra></extra>",
        "marker": {"color": look.colour, "symbol": look.marker, "size": 5}, "opacity": 0.55,
    }  # fmt: skip
    if len(line.places) <= BAND_FROM:
        trace["error_y"] = {
            "type": "data", "symmetric": False, "color": look.colour, "thickness": 1, "width": 0,
            "array": [_high(p) - p.mean for p in line.places],
            "arrayminus": [p.mean - _low(p) for p in line.places],
        }  # fmt: skip
    return [trace]


def _low(place: CurvePoint) -> float:
    return place.mean if place.low is None else place.low


def _high(place: CurvePoint) -> float:
    return place.mean if place.high is None else place.high


def _hover(place: CurvePoint) -> str:
    bounds = ""
    if place.low is not None and place.high is not None:
        bounds = f" [{place.low:,.2f}, {place.high:,.2f}]"
    seeds = f"{len(place.values)} seed{'s' if len(place.values) > 1 else ''}"
    return f"{place.mean:,.2f}{bounds}<br>at {place.density}, {seeds}"


def learning_chart(found: Sequence[Learning], what: str, looks: Mapping[str, Look]) -> Chart:
    """Learning curves of one density: test accuracy, or validation loss where the protocol has a validation set.

    A mean over seeds with the range of the seeds, on a log axis of steps; opened where the curves differ. Steps that
    several curves share are stored once: `x` is a place in `xs`.
    """
    xs: list[tuple[int, ...]] = []
    traces, shown = [], list[tuple[tuple[int, ...], tuple[float, ...]]]()
    for curve in found:
        look = looks[curve.method]
        seen = curve.test_accuracy if what == "accuracy" else curve.validation_loss
        steps = curve.test_steps if what == "accuracy" else curve.steps
        if steps not in xs:
            xs.append(steps)
        shown.append((steps, seen.mean))
        seeds = f"{curve.seeds} seed{'s' if curve.seeds > 1 else ''}"
        trace: Chart = {
            "type": "scatter", "mode": "lines+markers", "name": curve.method, "method": curve.method,
            "x": xs.index(steps), "y": list(seen.mean),
            "line": {"color": look.colour, "dash": look.dash, "width": look.width},
            "marker": {"color": look.colour, "symbol": look.marker, "size": 6, "maxdisplayed": 8},
            "hovertemplate": f"{curve.method}, mean of {seeds}<br>%{{y:.4g}} at step %{{x:,}}<extra></extra>",
        }  # fmt: skip
        if curve.seeds > 1:
            trace["band"] = {"low": list(seen.low), "high": list(seen.high)}
        traces.append(trace)
    title = "test accuracy, %" if what == "accuracy" else "validation loss"
    steps_shown, values_shown = where_they_differ(shown)
    layout = {
        "xaxis": {"type": "log", "title": {"text": "step (log scale)"}, "range": steps_shown},
        "yaxis": {"title": {"text": title}, "range": values_shown},
    }
    return {"data": traces, "layout": layout, "kind": "learning", "xs": [list(steps) for steps in xs]}


def where_they_differ(
    curves: Sequence[tuple[Sequence[int], Sequence[float]]],
) -> tuple[list[float], list[float]]:
    """Where to open a chart: from and to, of log10 of the step and of the value.

    Values are those after a tenth of the steps: by then what all share, the way from chance, is over; a method that
    stays far behind still sets the range. Steps begin where a first curve comes into that range.
    """
    values = [y for steps, ys in curves for x, y in zip(steps, ys, strict=True) if x >= 0.1 * steps[-1]]
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 1.0
    low, high = low - room, high + room
    first = min(next(x for x, y in zip(steps, ys, strict=True) if low <= y <= high) for steps, ys in curves)
    last = max(steps[-1] for steps, _ in curves)
    return [math.log10(0.8 * first), math.log10(1.1 * last)], [low, high]


def layer_chart(found: LayerMap) -> Chart:
    """Density of each layer (log scale) against the network's: which layers a method empties first."""
    densities = [[kept / size for kept in row] for row, size in zip(found.kept, found.sizes, strict=True)]
    shown = [[math.log10(d) if d > 0 else None for d in row] for row in densities]
    text = [
        [f"{100 * d:.3g} % of {size:,}" if d else f"empty, of {size:,}" for d in row]
        for row, size in zip(densities, found.sizes, strict=True)
    ]
    lowest = min((v for row in shown for v in row if v is not None), default=-1.0)
    ticks = [-float(i) for i in range(math.ceil(-lowest) + 1)]
    heat: Chart = {
        "type": "heatmap", "x": list(found.densities), "y": list(found.layers), "z": shown, "text": text, "zmax": 0.0,
        "zmin": min(lowest, -0.5), "colorscale": "Viridis", "hoverongaps": True, "xgap": 1, "ygap": 1,
        "hovertemplate": "%{y} at %{x}<br>%{text}<extra></extra>",
        "colorbar": {"title": {"text": "kept"}, "tickvals": ticks, "ticktext": [f"{100 * 10**t:g} %" for t in ticks]},
    }  # fmt: skip
    layout = {"xaxis": {"type": "category"}, "yaxis": {"type": "category", "autorange": "reversed"}}
    return {"data": [heat], "layout": layout, "kind": "layers", "rows": len(found.layers)}
