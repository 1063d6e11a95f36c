"""Published runs of a curve at the levels of a protocol. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from benchmark.metrics import Metric
from benchmark.protocol import Protocol
from benchmark.published.record import Moment
from benchmark.published.rules import Curve, listed
from benchmark.published.tables import Result

TAKEN: Mapping[Metric, Moment] = {
    "last-accuracy": "last",
    "best-accuracy": "best-test",
    "early-stop-accuracy": "early-stop",
}
SAME_DENSITY = 2e-3  # relative: tables print three to six digits, neighbouring levels differ by 1 % and more
# A mask keeps a whole number of weights, which is more than that off where 15 are left: so one weight either way, too.


def runs_by_level(rows: Iterable[Result], protocol: Protocol, rule: Curve) -> dict[int, tuple[float, ...]]:
    """Level -> accuracy of every run in percent, of the rule's setting, methods and metric.

    Only the rule's levels; one without runs is not in it.
    """
    found: dict[int, tuple[float, ...]] = {}
    weight = 1 / sum(protocol.pruning.layer_sizes.values())
    wanted = {level: protocol.level_table[level].density for level in listed(rule.of.levels)}
    for row in rows:
        if row.setting != rule.setting or row.method not in rule.published or not _taken(row, rule):
            continue
        for level, density in wanted.items():
            if row.density is not None and math.isclose(row.density, density, rel_tol=SAME_DENSITY, abs_tol=weight):
                found[level] = found.get(level, ()) + tuple(percent_accuracy(value, row) for value in row.values)
    return {level: runs for level, runs in found.items() if runs}


def _taken(row: Result, rule: Curve) -> bool:
    return row.quantity in ("test-accuracy", "test-error") and row.at == TAKEN[rule.metric]


def percent_accuracy(value: float, row: Result) -> float:
    """A row's accuracy or error, in its unit, as an accuracy in percent."""
    percent = 100 * value if row.unit == "fraction" else value
    return 100 - percent if row.quantity == "test-error" else percent
