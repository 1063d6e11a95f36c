"""Numbers as claims write them."""

from __future__ import annotations

import math

import pytest

from benchmark.claims.wording import MINUS, figures


@pytest.mark.parametrize(
    ("x", "sign", "text"),
    [
        (27.03, False, "27.03"),
        (1.1e-8, False, f"1.1e{MINUS}08"),
        (3e-15, False, f"3e{MINUS}15"),  # an error may be that small
        (3e-15, True, "0"),  # a difference of means is not
        (-0.05331, True, f"{MINUS}0.05331"),
        (5.7361, True, "+5.736"),
        (-math.inf, True, f"{MINUS}∞"),
    ],
)
def test_four_digits_and_no_rounding(x: float, sign: bool, text: str) -> None:
    assert figures(x, sign) == text
