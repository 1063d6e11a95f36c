"""A gain that has to grow from one level to another: decided in worlds where it does, does not, or shrinks."""

from __future__ import annotations

from typing import Any

import pytest
from builders import Outcome, records_of
from claim_rules import ACCURACY, rule
from judging import LTH, judge
from pydantic import ValidationError

from benchmark.claims.observations import Observations
from benchmark.protocols.cells import Cell

LEVELS = [3, 18]
FIELDS: dict[str, Any] = {
    "rule": "growing-gain", "metric": ACCURACY,
    "higher": {"method": "imp", "levels": LEVELS}, "lower": {"method": "imp+reinit", "levels": LEVELS},
}  # fmt: skip


@pytest.mark.parametrize(
    ("second", "verdict"), [(2.0, "reproduced"), (-2.0, "deviates"), (0.5, "inconclusive")], ids=str
)
def test_verdicts(second: float, verdict: str) -> None:
    """imp gains half a point at the first level and so much at the second; both fall by three points between them."""

    def world(method: str, level: int) -> tuple[float, float]:
        gain = {3: 0.5, 18: second}.get(level, 0.0) if method == "imp" else 0.0
        return 98.0 - 3.0 * (level == 18) + gain, 5000.0

    assert judge([FIELDS], world, spread=0.3).verdict == verdict


def test_the_difference_of_differences_by_hand() -> None:
    table = {("imp", 3): 95.0, ("imp", 18): 90.0, ("imp+reinit", 3): 94.0, ("imp+reinit", 18): 86.5}

    def outcome(cell: Cell) -> Outcome | None:
        value = table.get((cell.method, cell.level))
        return None if value is None or cell.seed > 2 else Outcome(value + 0.25 * cell.seed * (cell.level == 18), 1)

    seen = Observations(LTH, records_of(LTH, outcome))
    (item,) = rule(**FIELDS).items(seen, (0, 1, 2))
    assert item.estimate.mean == pytest.approx((90.0 - 86.5) - (95.0 - 94.0))
    assert item.low == 0.0


def test_words_and_refusals() -> None:
    assert (
        rule(**FIELDS)
        .statement(LTH)
        .endswith("the gain of imp is larger over imp+reinit at 1.9 % than over imp+reinit at 51.3 %")
    )
    for wrong in ([3], [3, 9, 18], [0, 3]):
        side = {"method": "imp", "levels": wrong}
        with pytest.raises(ValidationError, match="same two pruned levels"):
            rule(**{**FIELDS, "higher": side, "lower": {**side, "method": "imp+reinit"}})
