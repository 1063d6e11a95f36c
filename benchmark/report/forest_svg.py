"""The forest plot as SVG: one row a claim, where it holds shaded, the measured interval over it. No torch.

Verdicts differ in shape as well as in colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby

from benchmark.claims.evidence import Verdict
from benchmark.claims.wording import number
from benchmark.report.forest import ForestRow
from benchmark.report.stated import MARK, NOT_OF_THE_PAPER
from benchmark.report.svg import FONT, svg

WIDTH, ROW, HEAD, TOP = 1200, 24, 30, 106
LEFT, RIGHT = 566, 796  # of the axis; claims stand to its left, what was published and measured to its right
PUBLISHED, MEASURED = RIGHT + 14, RIGHT + 150
REACH = 4.0  # margins on either side; what lies farther is drawn at the edge, as an arrow
LABEL = "distance in margins"
ARROW = "an arrow goes on beyond the axis"
CHARACTER, BOLD = 6.6, 7.4  # width of an average one at 12 px, generous: fonts differ between machines

TITLES: dict[Verdict, str] = {
    "deviates": "deviates",
    "contradicted": "contradicted, by the paper's own data as well",
    "reproduced": "reproduced",
    "inconclusive": "inconclusive so far",
}

FIXED = (
    f"{FONT}.b{{font-weight:600}}"
    ".t{font-size:16px;font-weight:600}.e{text-anchor:end}.m{text-anchor:middle}.i{fill:none;stroke-width:2}"
)


def _colours(of: Mapping[str, str]) -> str:
    """The rules of one setting; an open claim's mean is hollow."""
    rules = [f"text{{fill:{of['ink']}}}", f".f{{fill:{of['faint']}}}", f".paper{{fill:{of['paper']}}}"]
    rules += [f".band{{fill:{of['band']}}}", f".grid{{stroke:{of['line']}}}", f".zero{{stroke:{of['faint']}}}"]
    for verdict in TITLES:
        fill = of["paper"] if verdict == "inconclusive" else of[verdict]
        rules += [f".{verdict}{{fill:{fill};stroke:{of[verdict]}}}", f".h.{verdict}{{fill:{of[verdict]};stroke:none}}"]
    return "".join([*rules, ".i{fill:none}"])


def forest_svg(rows: Sequence[ForestRow]) -> str:
    """The picture of `forest` rows; it says so where there are none."""
    groups = [(verdict, list(own)) for verdict, own in groupby(rows, key=lambda row: row.verdict)]
    bottom = TOP + HEAD * len(groups) + ROW * len(rows)
    y, lines = TOP, []
    for verdict, own in groups:
        asked = sum(row.own for row in own)
        count = f"{len(own)}, {asked} of them {MARK}" if asked else str(len(own))
        lines.append(f'<text class="b h {verdict}" x="16" y="{y + 21}">{TITLES[verdict]} ({count})</text>')
        lines += _ticks(y + 21)  # again over each part: the picture is many screens high
        y += HEAD
        for row in own:
            lines += _row(row, y + ROW / 2)
            y += ROW
    grid = [_vertical(x, "zero" if x == 0 else "grid", TOP, bottom) for x in range(-int(REACH), int(REACH) + 1, 1)]
    body = [*_heading(), *_bands(groups), *grid, *lines, *_axis(bottom)]
    return svg(_summary(groups), (WIDTH, bottom + 46), _colours, FIXED, body)


def _summary(groups: Sequence[tuple[Verdict, Sequence[ForestRow]]]) -> str:
    found = ", ".join(f"{len(own)} {verdict}" for verdict, own in groups)
    return f"Forest plot of measured claims in margins of their protocols: {found or 'nothing is measured yet'}"


def _heading() -> list[str]:
    """Title, and what the columns are."""
    y = TOP - 14
    return [
        '<text class="t" x="16" y="28">Published claims, measured again</text>',
        f'<text class="f m" x="{_x(0)}" y="{y - 16}">{LABEL}</text>',
        f'<text class="f" x="{PUBLISHED}" y="28">{MARK} {NOT_OF_THE_PAPER}</text>',
        '<text class="f" x="16" y="48">Dot and bar: mean and 95 % interval. Shaded: where the claim holds, in margins '
        "that were fixed before the first run.</text>",
        f'<text class="f" x="16" y="{y}">claim</text>',
        f'<text class="f m" x="{_x(0)}" y="{y}">0 = published value, or bound</text>',
        f'<text class="f" x="{PUBLISHED}" y="{y}">published</text>',
        f'<text class="f" x="{MEASURED}" y="{y}">measured</text>',
    ]


def _bands(groups: Sequence[tuple[Verdict, Sequence[ForestRow]]]) -> list[str]:
    """One rectangle for each run of rows that hold at the same place."""
    found, y = [], TOP
    for _, own in groups:
        y += HEAD
        for two_sided, run in groupby(own, key=lambda row: row.two_sided):
            high = ROW * len(list(run))
            left, right = (_x(-1), _x(1)) if two_sided else (_x(0), float(RIGHT))
            found.append(f'<rect class="band" x="{left:g}" y="{y}" width="{right - left:g}" height="{high}"/>')
            y += high
    return found


def _row(row: ForestRow, y: float) -> list[str]:
    """A claim: its words, its interval, and its mean in the shape of its verdict."""
    marked = f"{row.claim}{MARK if row.own else ''}"
    name = f'<tspan class="b">{escape(marked)}</tspan> '
    words = cut(row.statement, LEFT - 20 - BOLD * (len(marked) + 1))
    part = f" (check {row.check} of {row.checks})" if row.checks > 1 else ""
    hover = f"{row.claim}: {row.statement}. Published: {row.published}. Measured{part}: {row.measured}; needs "
    published = cut(row.published, MEASURED - PUBLISHED - 6)
    measured = cut(number_alone(row.measured), WIDTH - MEASURED)
    return [
        f"<g><title>{escape(hover + row.window)}; {escape(row.spoken)}</title>",
        f'<text x="16" y="{y + 4:g}">{name}{escape(words)}</text>',
        *_interval(row, y),
        _dot(row, y),
        f'<text x="{PUBLISHED}" y="{y + 4:g}">{escape(published)}</text>',
        f'<text x="{MEASURED}" y="{y + 4:g}">{escape(measured)}</text></g>',
    ]


def number_alone(measured: str) -> str:
    """What was measured, without the name of the quantity, its unit behind `off by`, and the places behind its
    interval."""
    text = (measured.partition(": ")[2] or measured).replace("percentage points", "points")
    if "off by" in text:
        text = text.replace(" points", "").replace(" decades", "")
    return text.partition("]")[0] + "]" if "]" in text else text.partition(" at ")[0]


def _interval(row: ForestRow, y: float) -> list[str]:
    if row.interval is None:
        return []
    low, high = (end if end is not None else sign * 2 * REACH for end, sign in zip(row.interval, (-1, 1), strict=True))
    left, right = max(low, -REACH), min(high, REACH)
    if left >= right:  # all of it lies beyond the axis
        return []
    ends = f"M{_x(left):g} {y:g}H{_x(right):g}"
    ends += _end(_x(left), y, -1, beyond=low < -REACH) + _end(_x(right), y, 1, beyond=high > REACH)
    return [f'<path class="i {row.verdict}" d="{ends}"/>']


def _end(x: float, y: float, sign: int, *, beyond: bool) -> str:
    """The end of an interval: a tick, or an arrow where it goes on beyond the axis."""
    if beyond:
        return f"M{x - 5 * sign:g} {y - 4:g}L{x:g} {y:g}L{x - 5 * sign:g} {y + 4:g}"
    return f"M{x:g} {y - 4:g}V{y + 4:g}"


def _dot(row: ForestRow, y: float) -> str:
    """The mean: round if reproduced, a diamond if not, hollow if open; an arrow where it lies beyond the axis."""
    x = _x(max(-REACH, min(REACH, row.at)))
    if abs(row.at) > REACH:
        s = 1 if row.at > 0 else -1
        return f'<path class="{row.verdict}" d="M{x:g} {y:g}l{-10 * s} -6v12z"/>'
    if row.verdict in ("deviates", "contradicted"):
        return f'<path class="{row.verdict}" d="M{x - 6:g} {y:g}l6 -6l6 6l-6 6z"/>'
    return f'<circle class="{row.verdict}" cx="{x:g}" cy="{y:g}" r="4.5" stroke-width="2"/>'


def _axis(bottom: int) -> list[str]:
    return [*_ticks(bottom + 16), f'<text class="f m" x="{_x(0):g}" y="{bottom + 34}">{LABEL}; {ARROW}</text>']


def _ticks(y: int) -> list[str]:
    """The numbers of the axis, at one height."""
    return [
        f'<text class="f m" x="{_x(x):g}" y="{y}">{number(x, 0)}</text>' for x in range(-int(REACH), int(REACH) + 1)
    ]


def _vertical(x: int, kind: str, top: int, bottom: int) -> str:
    return f'<path class="{kind}" d="M{_x(x):g} {top}V{bottom}"/>'


def _x(margins: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * (margins + REACH) / (2 * REACH), 1)


def cut(text: str, width: float) -> str:
    """As much of a text as fits; the whole stands in the row's title and on the board."""
    room = max(2, int(width / CHARACTER))
    return text if len(text) <= room else f"{text[: room - 1].rstrip(' ,;:')}\N{HORIZONTAL ELLIPSIS}"
