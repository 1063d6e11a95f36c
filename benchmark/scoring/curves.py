"""Arithmetic on curves over levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TypeVar

T = TypeVar("T")


def blocks(items: Sequence[T], width: int) -> list[list[T]]:
    """Consecutive groups of `width`; the last one may be shorter."""
    return [list(items[i : i + width]) for i in range(0, len(items), width)]


def mean_curve(curves: Sequence[Sequence[float]]) -> list[float]:
    """Average of curves that have the same points."""
    return [fmean(column) for column in zip(*curves, strict=True)]


def pooled_sd(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Standard deviation within groups, pooled, and its degrees of freedom. Raises ValueError if there are none."""
    df = sum(len(group) - 1 for group in groups)
    if df < 1:
        raise ValueError("a pooled standard deviation needs a group of at least two values")
    total = sum((value - fmean(group)) ** 2 for group in groups for value in group)
    return math.sqrt(total / df), df


def interpolated(levels: Sequence[int], values: Sequence[float], x: float) -> float:
    """The curve at level x, linear between levels; the end values beyond them."""
    if x <= levels[0]:
        return values[0]
    for left, right, a, b in zip(levels, levels[1:], values, values[1:], strict=False):
        if x <= right:
            return a + (b - a) * (x - left) / (right - left)
    return values[-1]


def crossing(levels: Sequence[int], gains: Sequence[float]) -> float:
    """The level beyond which a curve stays below zero, linear between levels.

    The last level if it ends at or above zero. The first value is dense against dense, 0, so a curve below zero
    from its first level on crosses at level 0.
    """
    last = max((i for i, gain in enumerate(gains) if gain >= 0), default=0)
    if last == len(levels) - 1:
        return float(levels[-1])
    a, b = gains[last], gains[last + 1]
    return levels[last] + (levels[last + 1] - levels[last]) * max(a, 0.0) / (max(a, 0.0) - b)
