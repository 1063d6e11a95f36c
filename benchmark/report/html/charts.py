"""Series as Plotly charts: plain JSON documents, with colours left to the page's theme where they depend on it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from benchmark.claims.wording import METRICS
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, axis_name
from benchmark.report.figure import COLOURS
from benchmark.report.html.series import CurvePoint, LayerMap, Learning, Line, PublishedLine

Chart = dict[str, Any]

LOOKS = (*COLOURS, "theme")  # the last one follows the page's theme
MARKERS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")
DASHES = ("solid", "dash", "dashdot", "dot")
BAND_FROM = 30  # levels beyond which bars would hide the curve


def style(protocol: Protocol, shown: Iterable[str]) -> dict[str, tuple[str, str, str]]:
    """Colour, marker and dash of each method: the same in every chart of a protocol. Submitted ones come last."""
    methods = [*protocol.methods, *sorted({method for method in shown if method != DENSE} - set(protocol.methods))]
    looks = {
        method: (LOOKS[i % len(LOOKS)], MARKERS[i % len(MARKERS)], DASHES[(i // len(LOOKS) + i) % len(DASHES)])
        for i, method in enumerate(methods)
    }
    return looks | {DENSE: ("theme-faint", "circle", "solid")}


def curves(
    protocol: Protocol, metric: str, lines: Sequence[Line], dense: Line, published: Sequence[PublishedLine]
) -> Chart:
    """A metric against density: measured means with intervals, the dense network, and what was published."""
    styles = style(protocol, [*(line.method for line in lines), *(line.method for line in published)])
    traces = list(_dense(dense, lines))
    for theirs in published:
        traces += _published(theirs, styles[theirs.method])
    for ours in lines:
        traces += _measured(ours, styles[ours.method])
    return {"data": traces, "layout": _layout(protocol, metric, [*lines, *published]), "kind": "curves"}


def _layout(protocol: Protocol, metric: str, lines: Sequence[Line | PublishedLine]) -> dict[str, Any]:
    title = METRICS[metric]  # type: ignore[index]
    y = {"title": {"text": title if metric in ("early-stop-step", "empty-layers") else f"{title}, %"}}
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
        if value < shown[-1] / 1.5:
            shown.append(value)
    return shown


def _dense(dense: Line, lines: Sequence[Line]) -> Iterable[Chart]:
    """The dense network as a level line across the measured range, with its interval in the hover text."""
    xs = [p.x for line in lines for p in line.places]
    if dense.places and xs:
        ours = dense.places[0]
        text = _hover(ours)
        ends = sorted({ours.x, min(xs), max(xs)})
        yield {
            "type": "scatter", "mode": "lines", "name": "dense", "method": "dense", "x": ends,
            "y": [ours.mean] * len(ends), "text": [text] * len(ends),
            "hovertemplate": "dense<br>%{text}<extra></extra>",
            "line": {"color": "theme-faint", "width": 1.5},
        }  # fmt: skip


def _measured(line: Line, look: tuple[str, str, str]) -> list[Chart]:
    colour, marker, dash = look
    trace: Chart = {
        "type": "scatter", "mode": "lines+markers", "name": line.method, "method": line.method,
        "x": [p.x for p in line.places], "y": [p.mean for p in line.places],
        "text": [_hover(p) for p in line.places], "hovertemplate": f"{line.method}<br>%{{text}}<extra></extra>",
        "line": {"color": colour, "dash": dash, "width": 2}, "marker": {"color": colour, "symbol": marker, "size": 7},
    }  # fmt: skip
    if len(line.places) <= BAND_FROM:
        bars = [((p.high - p.mean) if p.high is not None else 0.0) for p in line.places]
        trace["error_y"] = {"type": "data", "array": bars, "color": colour, "thickness": 1, "width": 3}
        return [trace]
    trace["mode"] = "lines"
    bounded = [p for p in line.places if p.low is not None and p.high is not None]
    return [*_band(line.method, colour, bounded, 0.2), trace]


def _published(line: PublishedLine, look: tuple[str, str, str]) -> list[Chart]:
    colour, marker, _ = look
    name = f"{line.method}, published"
    bars: Chart = {
        "type": "data", "symmetric": False, "color": colour, "thickness": 1, "width": 0,
        "array": [(p.high or p.mean) - p.mean for p in line.places],
        "arrayminus": [p.mean - (p.low or p.mean) for p in line.places],
    }  # fmt: skip
    trace: Chart = {
        "type": "scatter", "mode": "markers", "name": name, "method": line.method,
        "x": [p.x for p in line.places], "y": [p.mean for p in line.places],
        "text": [f"{p.mean:.2f} published at {p.density}<br>{line.spread}" for p in line.places],
        "hovertemplate": f"{line.method}<br>%{{text}}<extra></extra>",
        "marker": {"color": colour, "symbol": f"{marker}-open", "size": 6}, "opacity": 0.7,
    }  # fmt: skip
    if len(line.places) <= BAND_FROM:
        return [trace | {"error_y": bars}]
    return [*_band(line.method, colour, line.places, 0.1), trace]


def _band(method: str, colour: str, places: Sequence[CurvePoint], opacity: float) -> list[Chart]:
    """Area between lower and upper bounds. Its colour becomes transparent on the page, where the theme is known."""
    xs = [p.x for p in places]
    ys = [p.high for p in places] + [p.low for p in reversed(places)]
    return [
        {
            "type": "scatter", "mode": "lines", "x": xs + xs[::-1], "y": ys, "fill": "toself", "method": method,
            "fillcolor": colour, "fillopacity": opacity, "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False,
        }
    ]  # fmt: skip


def _hover(place: CurvePoint) -> str:
    bounds = ""
    if place.low is not None and place.high is not None:
        bounds = f" [{place.low:,.2f}, {place.high:,.2f}]"
    seeds = f"{len(place.values)} seed{'s' if len(place.values) > 1 else ''}"
    return f"{place.mean:,.2f}{bounds}<br>at {place.density}, {seeds}"


def learning_chart(protocol: Protocol, found: Sequence[Learning], what: str) -> Chart:
    """Learning curves of one density: test accuracy, or validation loss where the protocol has a validation set."""
    styles = style(protocol, [curve.method for curve in found])
    traces = []
    for curve in found:
        colour, _, dash = styles[curve.method]
        xs, ys = (curve.test_steps, curve.test_accuracy) if what == "accuracy" else (curve.steps, curve.validation_loss)
        seeds = f"{curve.seeds} seed{'s' if curve.seeds > 1 else ''}"
        traces.append({
            "type": "scatter", "mode": "lines", "name": curve.method, "method": curve.method, "x": list(xs),
            "y": list(ys), "line": {"color": colour, "dash": dash, "width": 1.6},
            "hovertemplate": f"{curve.method}, mean of {seeds}<br>%{{y:.4g}} at step %{{x:,}}<extra></extra>",
        })  # fmt: skip
    y = {"title": {"text": "test accuracy, %" if what == "accuracy" else "validation loss"}}
    return {"data": traces, "layout": {"xaxis": {"title": {"text": "step"}}, "yaxis": y}, "kind": "learning"}


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
