"""What the records of an analysis protocol hold, as tables: one for each number, analyses by density. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.claims import statistics
from benchmark.claims.observations import ANALYSED, Observations
from benchmark.claims.statistics import Estimate, interval
from benchmark.claims.wording import figures, metric_words
from benchmark.protocols.cells import density_text, method_names

NOTE = "Mean ± half of the 95 % interval (seeds). `...`: still to be measured; empty: not part of the protocol."


@dataclass(frozen=True)
class AnalysisTable:
    """One number of the analyses. `title`: its name and unit."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def numbers_of(seen: Observations) -> list[str]:
    """The names of all numbers that records hold: those with a margin first, in the protocol's order."""
    found = {name for group in seen.records.values() for record in group for name in record.analysed or {}}
    margins = [name for name in seen.protocol.statistics.margins.analysed if name in found]
    return margins + sorted(found - set(margins))


def analysis_tables(seen: Observations) -> list[AnalysisTable]:
    """Every number that was measured, one table each; none for other protocols."""
    return [_table(seen, name) for name in numbers_of(seen)]


def _table(seen: Observations, name: str) -> AnalysisTable:
    metric, protocol = f"{ANALYSED}{name}", seen.protocol
    holders = {method for (method, _, _), group in seen.records.items() for r in group if name in (r.analysed or {})}
    methods = [method for method in method_names(protocol) if method in holders]
    levels = sorted({level for method in methods for level in protocol.measured_levels(method)})
    rows = []
    for method in methods:
        cells = []
        for level in levels:
            values = list(seen.by_seed(metric, (method, level)).values())
            planned = "..." if level in protocol.measured_levels(method) else ""
            cells.append(_spread(statistics.estimate(values, seen.resolution(metric)), protocol.statistics.alpha)
                         if values else planned)  # fmt: skip
        rows.append((method, *cells))
    unit = seen.unit(metric)
    headings = ("analysis", *(density_text(protocol, level) for level in levels))
    return AnalysisTable(f"{metric_words(metric)}{f', {unit}' if unit else ''}", headings, tuple(rows))


def _spread(e: Estimate, alpha: float) -> str:
    """As `rankings.spread`, in four significant digits of the mean."""
    if e.n < 2:
        return f"{figures(e.mean)} (1)"
    low, high = interval(e, 1 - alpha)
    return f"{figures(e.mean)} ± {(high - low) / 2:.2g} ({e.n})"
