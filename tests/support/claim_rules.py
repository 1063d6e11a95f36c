"""Rules as a paper's file states them, and what tests of claims name again and again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter

from benchmark.claims.published import AnyRule

RULE: TypeAdapter[Any] = TypeAdapter(AnyRule)
ACCURACY, BEST, STEP = "early-stop-accuracy", "best-accuracy", "early-stop-step"
DENSE, IMP = {"method": "dense"}, {"method": "imp", "levels": [7]}
CHAIN = {"method": "imp", "levels": {"first": 1, "last": 18}}
CURVE = {"rule": "curve", "metric": BEST, "table": "figure-6", "setting": "tinyimagenet-vgg11_bn", "spread": "own"}


def rule(**fields: Any) -> Any:
    """A rule of these fields."""
    return RULE.validate_json(json.dumps(fields))


def flat(accuracy: float, step: float = 5000.0) -> Callable[[str, int], tuple[float, float]]:
    """imp at this accuracy and step at all levels; dense at 98 % and 5,000."""
    return lambda method, _level: (98.0, 5000.0) if method == "dense" else (accuracy, step)
