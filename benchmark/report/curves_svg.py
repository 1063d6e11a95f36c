"""Curves over seeds as SVG: a line for the mean, a band from the lowest seed to the highest. No torch.

The report and the board show the same picture.
"""

from __future__ import annotations

from html import escape
from math import ceil, floor, log10

from benchmark.report.analysis_curves import CurvePicture, Series
from benchmark.report.figure import COLOURS
from benchmark.report.svg import chart, lowered

WIDTH, ROW = 760, 20
LEFT, RIGHT, TOP, BOTTOM = 64, 470, 60, 344
TICKS = 5
DASHES = (("", "6 4"), ("2 3", "9 3 2 3"))
"""Of the first curve of an analysis and its others, each lap of the colours: no two lines of a picture look alike."""


def curves_svg(protocol: str, picture: CurvePicture) -> str:
    """The picture, with its legend to the right; every line says its ends and its extreme when pointed at."""
    words = f"{protocol}: {lowered(picture.title)}"
    height = max(BOTTOM + 56, TOP + ROW * (len(picture.series) + (picture.left_out > 0)) + 24)
    axes = _Axes(picture)
    lines = [line for number, own in enumerate(picture.series) for line in _line(axes, number, own)]
    return chart(words, (WIDTH, height), [*_grid(axes, picture), *lines])


class _Axes:
    """Places in the picture: both axes are linear, that of values ends at round numbers. `places`: ticks below it."""

    def __init__(self, picture: CurvePicture) -> None:
        series = picture.series
        xs = [x for own in series for x in own.x]
        self.left, self.right = min(xs), max(xs)
        self.places = _quarters(self.left, self.right)
        if picture.counted:
            self.places = _whole_ticks(self.left, self.right)
        self.ticks = _round_ticks(min(y for own in series for y in own.low), max(y for own in series for y in own.high))

    def x(self, value: float) -> float:
        span = (self.right - self.left) or 1.0
        return round(LEFT + (RIGHT - LEFT) * (value - self.left) / span, 1)

    def y(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return round(BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low), 1)


def _round_ticks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, around both ends."""
    rough = max(high - low, abs(high) * 1e-6, 1e-12) / TICKS
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = floor(low / step), ceil(high / step)
    return [step * place for place in range(first, max(last, first + 1) + 1)]


def _quarters(left: float, right: float) -> list[float]:
    return [left + share * (right - left) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]


def _whole_ticks(left: float, right: float) -> list[float]:
    """Whole numbers at both ends and between them, at most `TICKS` steps; what stands too near to the last is left
    out."""
    step = next(s for power in range(9) for f in (1, 2, 5) if TICKS * (s := f * 10**power) >= right - left)
    between = [float(step * n) for n in range(floor(left / step) + 1, ceil(right / step))]
    return [left, *(value for value in between if min(value - left, right - value) >= 0.6 * step), right]


def _grid(axes: _Axes, picture: CurvePicture) -> list[str]:
    lines = []
    for value in axes.ticks:
        y = axes.y(value)
        lines.append(f'<path class="grid" d="M{LEFT} {y:g}H{RIGHT}"/>')
        lines.append(f'<text class="f e" x="{LEFT - 8}" y="{y + 4:g}">{value:.6g}</text>')
    for value in dict.fromkeys(axes.places):
        lines.append(f'<text class="f m" x="{axes.x(value):g}" y="{BOTTOM + 16}">{value:.6g}</text>')
    above = f"{picture.y_title}; bands from the lowest seed to the highest"
    if picture.left_out:
        y = TOP + ROW * len(picture.series) + 4
        lines.append(f'<text class="f" x="{RIGHT + 14}" y="{y}">{picture.left_out} more in the table of numbers</text>')
    return [
        *lines,
        f'<text class="f m" x="{(LEFT + RIGHT) / 2:g}" y="{BOTTOM + 38}">{escape(picture.x_title)}</text>',
        f'<text class="f" x="16" y="{TOP - 12}">{escape(above)}</text>',
    ]


def _line(axes: _Axes, number: int, own: Series) -> list[str]:
    lap, place = divmod(own.colour, len(COLOURS))
    colour, pattern = COLOURS[place], DASHES[lap % len(DASHES)][own.dashed]
    dash = f' stroke-dasharray="{pattern}"' if pattern else ""
    seeds = f"{own.seeds} seed{'' if own.seeds == 1 else 's'}"
    spoken = f"{own.name}: {own.mean[0]:.4g} and {own.mean[-1]:.4g} at the ends, {max(own.mean):.4g} at most, {seeds}"
    y = TOP + ROW * number
    there = [f"{axes.x(x):g} {axes.y(value):g}" for x, value in zip(own.x, own.high, strict=True)]
    back = [f"{axes.x(x):g} {axes.y(value):g}" for x, value in zip(own.x, own.low, strict=True)]
    band = "L".join([*there, *reversed(back)])
    mean = "L".join(f"{axes.x(x):g} {axes.y(value):g}" for x, value in zip(own.x, own.mean, strict=True))
    return [
        f"<g><title>{escape(spoken)}</title>",
        f'<path d="M{band}Z" fill="{colour}" opacity="0.15"/>',
        f'<path d="M{mean}" fill="none" stroke="{colour}" stroke-width="2"{dash}/></g>',
        f'<path d="M{RIGHT + 14} {y:g}h24" fill="none" stroke="{colour}" stroke-width="2"{dash}/>',
        f'<text x="{RIGHT + 46}" y="{y + 4:g}">{escape(own.name)}</text>',
    ]
