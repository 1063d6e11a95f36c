"""Accuracy against stored bits, of protocols that compress: what the picture shows, and it as SVG. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from statistics import fmean

from benchmark.claims.observations import ANALYSED, Observations
from benchmark.report.figure import COLOURS
from benchmark.report.svg import chart

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 520, 60, 344
COMPRESSING = "compression"


@dataclass(frozen=True)
class Mark:
    """One method over its seeds: mean bits and accuracy, in percent, with the lowest and highest seed."""

    times: float
    bits: float
    accuracy: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class TradeOff:
    """Of one protocol: marks by series, most bits first; the mean accuracy of the dense networks and their bits."""

    series: dict[str, list[Mark]]
    dense: float
    dense_bits: float


def trade_off(seen: Observations) -> TradeOff | None:
    """What was measured of a protocol's compressions; None if it has none. Methods that differ in `times` alone are a
    series, named by what their names share."""
    series: dict[str, list[Mark]] = {}
    dense: list[float] = []
    sizes: list[float] = []
    for name, spec in seen.protocol.analyses.items():
        if spec.analysis != COMPRESSING:
            continue
        measured = ("accuracy", "accuracy_lost", "bits", "compression")
        numbers = {key: seen.by_seed(f"{ANALYSED}{key}", (name, spec.levels[0])) for key in measured}
        if not numbers["accuracy"]:
            continue
        times, values = float(spec.parameters["times"]), [*numbers["accuracy"].values()]
        bits = fmean(numbers["bits"].values())
        mark = Mark(times, bits, fmean(values), min(values), max(values), len(values))
        series.setdefault(name.removesuffix(f"-{times:g}x"), []).append(mark)
        dense += [a + numbers["accuracy_lost"][seed] for seed, a in numbers["accuracy"].items()]
        sizes += [numbers["bits"][seed] * factor for seed, factor in numbers["compression"].items()]
    if not series:
        return None
    ordered = {name: sorted(marks, key=lambda mark: -mark.bits) for name, marks in series.items()}
    return TradeOff(ordered, fmean(dense), fmean(sizes))


def trade_off_svg(title: str, found: TradeOff) -> str:
    """The picture: bits on a logarithmic axis, compression above it, one line a series, bars from seed to seed."""
    marks = [mark for own in found.series.values() for mark in own]
    axes = _Axes(
        min(mark.bits for mark in marks),
        max(mark.bits for mark in marks),
        floor(min(mark.low for mark in marks) / 5) * 5,
        ceil(max(found.dense, *(mark.high for mark in marks)) / 5) * 5,
    )
    body = [
        *_grid(axes, sorted({mark.times for mark in marks}), found),
        *(line for number, (name, own) in enumerate(found.series.items()) for line in _series(axes, number, name, own)),
    ]
    return chart(f"{title}: accuracy against stored bits", (WIDTH, HEIGHT), body, _dense_rule)


@dataclass(frozen=True)
class _Axes:
    fewest: float
    most: float
    low: float
    high: float

    def x(self, bits: float) -> float:
        span = log10(self.most / self.fewest) or 1.0
        return round(LEFT + 30 + (RIGHT - LEFT - 60) * log10(bits / self.fewest) / span, 1)

    def y(self, accuracy: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (accuracy - self.low) / ((self.high - self.low) or 1), 1)


def _grid(axes: _Axes, times: list[float], found: TradeOff) -> list[str]:
    step = 5 if axes.high - axes.low <= 40 else 10
    lines = []
    for value in range(int(axes.low), int(axes.high) + 1, step):
        y = axes.y(value)
        lines.append(f'<path class="grid" d="M{LEFT} {y:g}H{RIGHT}"/>')
        lines.append(f'<text class="f e" x="{LEFT - 8}" y="{y + 4:g}">{value}</text>')
    for factor in times:
        x = axes.x(max(axes.fewest, min(axes.most, found.dense_bits / factor)))
        lines.append(f'<path class="grid" d="M{x:g} {TOP}V{BOTTOM}"/>')
        lines.append(f'<text class="f m" x="{x:g}" y="{BOTTOM + 16}">{found.dense_bits / factor / 1000:.3g}</text>')
        lines.append(f'<text class="f m" x="{x:g}" y="{BOTTOM + 32}">{factor:g} times</text>')
    y = axes.y(found.dense)
    return [
        *lines,
        f'<path class="dense" d="M{LEFT} {y:g}H{RIGHT}"/>',
        f'<text x="{RIGHT + 12}" y="{y + 4:g}">dense, {found.dense:.1f} %</text>',
        f'<text class="f m" x="{(LEFT + RIGHT) / 2:g}" y="{BOTTOM + 50}">thousand bits of all weights</text>',
        f'<text class="f" x="16" y="{TOP - 12}">test accuracy, %; bars from the lowest seed to the highest</text>',
    ]


def _series(axes: _Axes, number: int, name: str, marks: list[Mark]) -> list[str]:
    colour = COLOURS[number % len(COLOURS)]
    shift = 5 * (number - 1)  # bars of equal bits stand side by side
    places = [(axes.x(mark.bits) + shift, axes.y(mark.accuracy), mark) for mark in marks]
    path = "L".join(f"{x:g} {y:g}" for x, y, _ in places)
    lines = [f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for x, y, mark in places:
        bar = f"M{x:g} {axes.y(mark.low):g}V{axes.y(mark.high):g}"
        seeds = f"{mark.low:g} to {mark.high:g}, {mark.seeds} seeds"
        spoken = escape(f"{name}, {mark.bits:,.0f} bits: {mark.accuracy:.2f} %, {seeds}")
        shape = f'<path d="{bar}"/>{_shape(number, x, y)}'
        lines.append(f'<g fill="{colour}" stroke="{colour}"><title>{spoken}</title>{shape}</g>')
    y = TOP + 60 + 22 * number
    label = f'<text x="{RIGHT + 30}" y="{y + 4}">{escape(name)}</text>'
    return [*lines, f'<g fill="{colour}">{_shape(number, RIGHT + 18, y)}</g>{label}']


def _shape(number: int, x: float, y: float) -> str:
    """Series differ in shape too."""
    if number % 3 == 0:
        return f'<circle cx="{x:g}" cy="{y:g}" r="4.5"/>'
    if number % 3 == 1:
        return f'<path d="M{x - 4:g} {y - 4:g}h8v8h-8z"/>'
    return f'<path d="M{x - 6:g} {y:g}l6 -6l6 6l-6 6z"/>'


def _dense_rule(of: Mapping[str, str]) -> str:
    return f".dense{{stroke:{of['faint']};stroke-dasharray:6 4}}"
