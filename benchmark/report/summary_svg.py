"""The summary as SVG: of each paper one bar of its published claims by verdict, then those that do not hold. No torch.

What this suite asks besides is not in it. Numbers stand in the bars, so that colours are not all there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from benchmark.claims.evidence import Verdict
from benchmark.claims.published import Published
from benchmark.claims.verdicts import Decision
from benchmark.report.forest_svg import BOLD, CHARACTER, cut, number_alone
from benchmark.report.stated import authors_in_short, published_and_own
from benchmark.report.svg import FONT, svg

WIDTH, ROW, TOP = 900, 22, 66
LEFT, RIGHT = 250, 820  # of the bars; papers stand to their left, how many claims they have to their right
BAR = 16  # high
LEAST = 16.0  # of a segment's width that its number fits into
TWO_LINES = 40  # high is what is said of one claim that does not hold
SHOWN: tuple[Verdict, ...] = ("reproduced", "deviates", "contradicted", "inconclusive", "not measured")
WRONG: tuple[Verdict, ...] = ("deviates", "contradicted")
FIXED = f"{FONT}.b{{font-weight:600}}.t{{font-size:16px;font-weight:600}}.e{{text-anchor:end}}.m{{text-anchor:middle}}"


@dataclass(frozen=True)
class PaperBar:
    """One paper's published claims: how many have each verdict, all of `SHOWN`."""

    paper: Published
    counts: Mapping[Verdict, int]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.counts.values())

    @property
    def measured(self) -> int:
        """Those of which something is measured."""
        return self.total - self.counts["not measured"]


def bars(decided: Sequence[tuple[Published, Sequence[Decision]]]) -> list[PaperBar]:
    """Of every paper of whose published claims one is measured; most measured first, equals as they stand."""
    found = []
    for paper, decisions in decided:
        verdicts: list[str] = [d.verdict for d in published_and_own(decisions)[0]]
        found.append(PaperBar(paper, {verdict: verdicts.count(verdict) for verdict in SHOWN}))
    return sorted((bar for bar in found if bar.measured), key=lambda bar: -bar.measured)


def summary_svg(decided: Sequence[tuple[Published, Sequence[Decision]]], *, findings: bool = True) -> str:
    """The picture, of papers with their decisions; it says so where nothing is measured. `findings`: with those claims
    that do not hold."""
    shown = bars(decided)
    wrong = [d for _, decisions in decided for d in published_and_own(decisions)[0] if d.verdict in WRONG]
    body = ['<text class="t" x="16" y="28">Published claims by paper</text>', *_legend()]
    y = TOP
    for bar in shown:
        body += _bar(bar, y)
        y += ROW
    if findings and wrong:
        y += 14
        body.append(f'<text class="t" x="16" y="{y + 12}">Those that do not hold</text>')
        y += 26
        for d in sorted(wrong, key=lambda d: WRONG.index(d.verdict)):
            body += _finding(d, y)
            y += TWO_LINES
    sums = {verdict: sum(bar.counts[verdict] for bar in shown) for verdict in SHOWN}
    words = ", ".join(f"{n} {verdict}" for verdict, n in sums.items() if n) or "nothing is measured yet"
    return svg(
        f"Published claims of {len(shown)} paper{'' if len(shown) == 1 else 's'}: {words}",
        (WIDTH, y + 12),
        _colours,
        FIXED,
        body,
    )


def _colours(of: Mapping[str, str]) -> str:
    rules = [f"text{{fill:{of['ink']}}}", f".f{{fill:{of['faint']}}}", f".paper,.on{{fill:{of['paper']}}}"]
    rules += [f".{verdict}{{fill:{of[verdict]}}}" for verdict in SHOWN if verdict != "not measured"]
    return "".join([*rules, f".not-measured{{fill:{of['line']}}}"])


def _class(verdict: Verdict) -> str:
    return verdict.replace(" ", "-")


def _legend() -> list[str]:
    found, x = [], 16.0
    for verdict in SHOWN:
        found.append(f'<rect class="{_class(verdict)}" x="{x:g}" y="40" width="12" height="12" rx="2"/>')
        found.append(f'<text class="f" x="{x + 17:g}" y="50">{verdict}</text>')
        x += 17 + CHARACTER * len(verdict) + 18
    return found


def _bar(bar: PaperBar, y: int) -> list[str]:
    """The paper, its claims as parts of one length, and how many they are."""
    p = bar.paper.paper
    name = cut(f"{p.key}, {authors_in_short(p.authors)} {p.year}", LEFT - 24)
    lines = [f'<text x="16" y="{y + 12}">{escape(name)}<title>{escape(p.title)}</title></text>']
    x = float(LEFT)
    for verdict in SHOWN:
        count = bar.counts[verdict]
        width = (RIGHT - LEFT) * count / bar.total
        if not count:
            continue
        hover = f"{p.key}: {count} {verdict}"
        lines.append(
            f'<rect class="{_class(verdict)}" x="{x:.1f}" y="{y}" width="{max(width - 1, 1):.1f}" height="{BAR}">'
            f"<title>{escape(hover)}</title></rect>"
        )
        if width >= LEAST:
            ink = "f" if verdict == "not measured" else "on"
            lines.append(f'<text class="{ink} m" x="{x + width / 2:.1f}" y="{y + 12}">{count}</text>')
        x += width
    claims = "claim" if bar.total == 1 else "claims"
    return [*lines, f'<text class="f" x="{RIGHT + 8}" y="{y + 12}">{bar.total} {claims}</text>']


def _finding(d: Decision, y: int) -> list[str]:
    """One claim that does not hold: its name in the colour of its verdict, what it states, below it both numbers."""
    check = next((c for c in d.checks if c.verdict == "deviates"), d.checks[0])
    room = WIDTH - 32 - BOLD * (len(d.claim) + 1)
    hover = f"{d.claim}: {d.statement}. Published: {d.published}. Measured: {check.measured}; {d.spoken_verdict}"
    numbers = f"{d.verdict}: published {cut(d.published, WIDTH / 2)}; measured {number_alone(check.measured)}"
    name = f'<tspan class="b {_class(d.verdict)}">{escape(d.claim)}</tspan>'
    return [
        f"<g><title>{escape(hover)}</title>",
        f'<text x="16" y="{y + 12}">{name} {escape(cut(d.statement, room))}</text>',
        f'<text class="f" x="16" y="{y + 28}">{escape(cut(numbers, WIDTH - 32))}</text></g>',
    ]
