"""How every picture that is written as SVG begins, and its colours. No torch.

Written by hand, so that the same numbers give the same bytes on every machine. Colours follow the reader's light or
dark setting; a picture brings its own background, so it can be read on either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from html import escape

# Whoever shows SVG may know no variables of CSS, so the colours are written out for either setting.
LIGHT = {
    "paper": "#ffffff", "ink": "#1b1f24", "faint": "#59636e", "line": "#d4d9df", "band": "#e3ebf5",
    "reproduced": "#00704d", "deviates": "#b3420a", "contradicted": "#8a3a86", "inconclusive": "#8a6100",
}  # fmt: skip
DARK = {
    "paper": "#14181d", "ink": "#e8eaed", "faint": "#a5adb7", "line": "#3a424c", "band": "#20344c",
    "reproduced": "#4fd0a0", "deviates": "#ff9a66", "contradicted": "#e39be0", "inconclusive": "#e8c268",
}  # fmt: skip
FONT = 'text{font:12px system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif}'
CHART = f"{FONT}.t{{font-size:15px}}.m{{text-anchor:middle}}.e{{text-anchor:end}}"

DRAWN = '<svg xmlns="http://www.w3.org/2000/svg" '
"""How every picture begins."""

Rules = Callable[[Mapping[str, str]], str]
"""From the colours of one setting to the style's rules that hang on them."""


def lowered(title: str) -> str:
    """A title as it goes on within a sentence: its first letter small, unless an acronym begins it."""
    return title if title[1:2].isupper() else f"{title[:1].lower()}{title[1:]}"


def svg(label: str, size: tuple[int, int], rules: Rules, fixed: str, body: Iterable[str]) -> str:
    """A picture of `size` (width, height) that is called `label`. `fixed`: rules that are the same in both settings."""
    width, height = size
    parts = [
        f'{DRAWN}viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(label)}">',
        f"<style>{rules(LIGHT)}\n@media (prefers-color-scheme:dark){{{rules(DARK)}}}\n{fixed}</style>",
        f'<rect class="paper" width="{width}" height="{height}" rx="8"/>',
    ]
    return "\n".join([*parts, *body, "</svg>"]) + "\n"


def chart(title: str, size: tuple[int, int], body: Iterable[str], rules: Rules | None = None) -> str:
    """A picture with a title and axes. `rules`: of what it draws besides texts and grid."""

    def all_rules(of: Mapping[str, str]) -> str:
        own = (
            f"text{{fill:{of['ink']}}}.f{{fill:{of['faint']}}}.paper{{fill:{of['paper']}}}.grid{{stroke:{of['line']}}}"
        )
        return own + (rules(of) if rules else "")

    return svg(title, size, all_rules, CHART, [f'<text class="t" x="16" y="26">{escape(title)}</text>', *body])
