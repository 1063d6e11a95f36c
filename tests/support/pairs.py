"""Half of a product of parameters, in which every two values still meet; the other half is for `make test-long`.

A fault shows where one choice, or two of them together, go wrong; hardly ever does it take three.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

import pytest


def pairs(*axes: Iterable[Any]) -> list[Any]:
    """Sets of parameters of three axes or more: every set, of which those at an odd sum of places are marked long.

    Whatever two values of different axes are chosen, a third axis with two values or more completes an even sum.
    """
    found = []
    for places in product(*(list(enumerate(axis)) for axis in axes)):
        odd = sum(place for place, _ in places) % 2
        found.append(pytest.param(*(value for _, value in places), marks=[pytest.mark.long] if odd else []))
    return found
