"""The rings of Plant 'n' Seek: their areas, and how many labels are moved."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmark.datasets.circle import Circle


def test_rings_have_the_shares_of_their_areas(tmp_path: Path) -> None:
    """Of the square of side 2: pi r^2 / 4, by differences; 10,000 points tell shares to about half a percent."""
    x, y, test_x, test_y, digest = Circle().read(tmp_path)
    assert (x.shape, test_x.shape) == ((9000, 2), (1000, 2))
    areas = [math.pi * squared / 4 for squared in (0.2, 0.5, 0.7)]
    expected = np.diff([0.0, *areas, 1.0])
    labels = np.concatenate([y, test_y])
    assert np.bincount(labels) / 10_000 == pytest.approx(expected, abs=0.015)
    assert digest == Circle().read(tmp_path)[4]


def test_one_label_in_a_hundred_is_that_of_a_ring_beside(tmp_path: Path) -> None:
    x, y, _, _, _ = Circle().read(tmp_path)
    squared = (x.astype(np.float64) ** 2).sum(axis=1)
    by_place = (squared > 0.2).astype(int) + (squared > 0.5) + (squared > 0.7)
    moved = y != by_place
    assert 0.006 < moved.mean() < 0.014
    assert set(np.abs(y - by_place)[moved]) == {1}
