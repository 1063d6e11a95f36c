"""Published runs that a curve is compared with, read once. No torch."""

from __future__ import annotations

from benchmark.protocol import Protocol
from benchmark.published import results
from benchmark.published.rules import Curve
from benchmark.published.runs import runs_by_level


def published_runs(protocol: Protocol, rule: Curve) -> dict[int, tuple[float, ...]]:
    """Level -> published accuracies in percent, one per run. Raises BadInput if the paper has no such table."""
    return runs_by_level(results(protocol.paper.key, rule.table), protocol, rule)
