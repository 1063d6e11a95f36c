"""Numbers, and cells with their densities, as text. No torch."""

from __future__ import annotations

import math

from benchmark.claims.rules.base import Points, listed
from benchmark.protocols import Protocol
from benchmark.protocols.cells import density_text

MINUS = "\N{MINUS SIGN}"


def number(x: float, digits: int = 2, sign: bool = False) -> str:
    """A number with a true minus sign; infinity as the symbol; no negative zero."""
    if not math.isfinite(x):
        return "∞" if x > 0 else f"{MINUS}∞"
    text = f"{x:{'+' if sign else ''}.{digits}f}"
    if float(text) == 0:
        text = text.replace("-", "+" if sign else "")
    return text.replace("-", MINUS)


def points_text(protocol: Protocol, points: Points) -> str:
    """A method with its densities in the paper's unit."""
    levels = listed(points.levels)
    if levels == (0,):
        return "dense"
    texts = [density_text(protocol, level) for level in levels]
    consecutive = len(levels) > 2 and levels == tuple(range(levels[0], levels[-1] + 1))
    return f"{points.method} at {texts[0]} to {texts[-1]}" if consecutive else f"{points.method} at {', '.join(texts)}"
