"""What simulations of error rates share."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter
from scipy import stats

from benchmark.claims.published import AnyRule
from benchmark.claims.rules.base import Rule

ALPHA = 0.05
SEEDS = (pytest.param(3, marks=pytest.mark.long), 5, pytest.param(10, marks=pytest.mark.long))


RULE: TypeAdapter[Rule] = TypeAdapter(AnyRule)


def most(draws: int, alpha: float = ALPHA) -> int:
    """What a test of level `alpha` exceeds in one of 10,000 simulations."""
    return int(stats.binom.ppf(1 - 1e-4, draws, alpha))
