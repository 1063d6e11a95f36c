"""Numbers for the page that compares any two methods: what every seed gave, and the t quantiles for intervals.

The page takes differences seed by seed, which share initial weights and order of examples, as the scoring does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.claims import statistics
from benchmark.claims.observations import Observations, reported_metric
from benchmark.claims.wording import METRICS
from benchmark.protocols.cells import DENSE, axis_name, axis_value, density_text
from benchmark.report.html.looks import Look, documents

MOST_SEEDS = 60  # degrees of freedom of which a quantile is handed on, less one


def document(seen: Sequence[Observations], looks: Mapping[str, Look]) -> dict[str, Any]:
    """Protocols that train and have records of two methods, each with its values; in plain JSON types."""
    found = [made for observations in seen if observations.protocol.trains and (made := _protocol(observations, looks))]
    return {"protocols": found}


def _protocol(seen: Observations, looks: Mapping[str, Look]) -> dict[str, Any] | None:
    protocol, metric = seen.protocol, reported_metric(seen.protocol)
    methods = {
        method: {level: values for level in _levels(seen, method) if (values := seen.by_seed(metric, (method, level)))}
        for method in dict.fromkeys([DENSE, *(name for name, _, _ in seen.records)])
    }
    methods = {method: levels for method, levels in methods.items() if levels}
    if len(methods) < 2:
        return None
    levels = sorted({level for own in methods.values() for level in own})
    alpha = protocol.statistics.alpha
    most = max(len(values) for own in methods.values() for values in own.values())
    return {
        "id": protocol.id,
        "metric": METRICS[metric],
        "unit": axis_name(protocol),
        "log": protocol.reports_density_as == "percent-remaining",
        "ticks": ticks(axis_value(protocol, n) for n in levels),
        "confidence": 1 - alpha,
        "resolution": seen.resolution(metric),
        "t": [round(statistics.quantile(1 - alpha / 2, df), 5) for df in range(1, min(most, MOST_SEEDS))],
        "levels": {str(n): [density_text(protocol, n), axis_value(protocol, n)] for n in levels},
        "looks": documents(looks, methods),
        "values": {
            method: {str(level): {str(seed): value for seed, value in values.items()} for level, values in own.items()}
            for method, own in methods.items()
        },
    }


def ticks(values: Iterable[float]) -> list[float]:
    """Labels of a falling log axis from 100 %: 100, 50, 20, 10, 5, ... down to the first at or below every value."""
    least = min((value for value in values if value > 0), default=100.0)
    digits = ((digit, power) for power in range(1, -20, -1) for digit in (5, 2, 1))
    made = [100.0]
    while made[-1] > least and (step := next(digits, None)):
        made.append(float(f"{step[0]}e{step[1]}"))
    return made


def _levels(seen: Observations, method: str) -> list[int]:
    return sorted({level for name, level, _ in seen.records if name == method})
