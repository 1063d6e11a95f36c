"""What the records of an analysis protocol hold, as tables: one for each number, analyses by density. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log10

from benchmark.claims import statistics
from benchmark.claims.observations import ANALYSED, Observations
from benchmark.claims.statistics import Estimate, interval
from benchmark.claims.wording import IDENTICAL, MINUS, figures, metric_words
from benchmark.protocols.cells import density_text, method_names

NOTE = """\
Mean ± half of the 95 % interval (seeds); `<`: less than the last digit that is shown. `...`: still to be measured; \
empty: not part of the protocol.\
"""


@dataclass(frozen=True)
class AnalysisTable:
    """One number of the analyses. `title`: its name and unit."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def numbers_of(seen: Observations) -> list[str]:
    """The names of all numbers that records hold: those with a margin first, in the protocol's order."""
    found = {name for record in seen.every_record for name in record.analysed or {}}
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
            # As measured: the least spread that tests take for granted is no measurement.
            cells.append(spread_of(statistics.estimate(values), protocol.statistics.alpha) if values else planned)
        rows.append((method, *cells))
    unit = seen.unit(metric)
    headings = ("analysis", *(density_text(protocol, level) for level in levels))
    return AnalysisTable(f"{metric_words(metric)}{f', {unit}' if unit else ''}", headings, tuple(rows))


def spread_of(e: Estimate, alpha: float) -> str:
    """As `rankings.spread`, in four significant digits of the mean and none of the interval below them."""
    if e.n < 2:
        return f"{figures(e.mean)} (1)"
    if e.identical:
        return f"{figures(e.mean)}, {IDENTICAL} ({e.n})"
    low, high = interval(e, 1 - alpha)
    half, last = (high - low) / 2, 10.0 ** (floor(log10(abs(e.mean))) - 3) if e.mean else 0.0
    text = f"<{figures(last)}" if half < last else f"{half:.2g}".replace("-", MINUS)
    return f"{figures(e.mean)} ± {text} ({e.n})"
