"""What the pages say in words and tables: fields with sources, provenance, rankings, costs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.plan import cells_of, method_names
from benchmark.protocol import Protocol
from benchmark.records import Record
from benchmark.report.series import Line
from benchmark.scoring.observations import Observations
from benchmark.scoring.standings import Standing, shown_levels, standings
from benchmark.scoring.wording import number
from benchmark.statistics import interval
from benchmark.units import density_text

SECTIONS = ("network", "data", "recipe", "evaluation", "pruning", "levels", "seeds", "statistics")


@dataclass(frozen=True)
class Row:
    """A field of a protocol with its value and where that comes from."""

    field: str
    value: str
    source: str


@dataclass(frozen=True)
class Table:
    """A table of text; `title` above it."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def slug(name: str) -> str:
    """A file name for a protocol or method; different names stay different."""
    return re.sub(r"[^a-z0-9._-]", lambda found: f"~{ord(found.group()):x}" if found.group() != "/" else "--", name)


def fields(protocol: Protocol) -> list[tuple[str, list[Row]]]:
    """Every field of the document by section, with the source that covers it."""
    document = protocol.document
    return [(section, _rows(section, document[section], protocol.sources)) for section in SECTIONS]


def _rows(name: str, value: Any, sources: dict[str, str]) -> list[Row]:
    if isinstance(value, dict):
        return [row for key, inner in value.items() for row in _rows(f"{name}.{key}", inner, sources)]
    text = ", ".join(str(v) for v in value) if isinstance(value, list) else str(value)
    covering = [key for key in sources if name == key or name.startswith(f"{key}.")]
    return [Row(name, text, sources[max(covering, key=len)] if covering else "")]


def provenance(seen: Observations) -> Table:
    """Who made the records, with what: one row per distinct origin."""
    origins = Counter(_origin(r) for _, group in sorted(seen.records.items(), key=lambda i: i[0]) for r in group)
    rows = tuple((*origin, f"{count:,}") for origin, count in sorted(origins.items()))
    headings = ("commit", "device", "precision", "torch", "python", "data (sha256)", "records")
    return Table("Where the records come from", headings, rows)


def _origin(record: Record) -> tuple[str, ...]:
    p = record.provenance
    commit = (p.commit or "not in git")[:10] + (" with local changes" if p.dirty else "")
    return commit, p.device, p.precision, p.packages.get("torch", "?"), p.python, p.data_digest[:16]


def progress(seen: Observations) -> str:
    """How much of a protocol is measured."""
    protocol = seen.protocol
    total = sum(len(cells_of(protocol, method)) for method in method_names(protocol))
    finished = sum(r.status == "finished" for group in seen.records.values() for r in group)
    return f"{finished:,} of {total:,} runs measured"


def rankings(seen: Observations, papers: Sequence[Any]) -> list[Table]:
    """Methods at each level that the paper names, best first."""
    tables = []
    for level in shown_levels(seen.protocol, papers):
        if found := standings(seen, level):
            rows = tuple(_standing(seen, s) for s in found)
            tables.append(Table(f"At {density_text(seen.protocol, level)}", STANDING, rows))
    return tables


STANDING = ("rank", "method", "accuracy %", "95 % interval", "seeds", "mask steps", "training steps", "examples scored")


def _standing(seen: Observations, s: Standing) -> tuple[str, ...]:
    low, high = interval(s.accuracy, 1 - seen.protocol.statistics.alpha)
    bounds = f"{number(low)} to {number(high)}" if s.accuracy.n > 1 else "needs 2 seeds"
    costs = (s.costs.mask_train_steps, s.costs.train_steps, s.costs.prune_examples) if s.costs else ()
    return (str(s.rank), s.method, number(s.accuracy.mean), bounds, str(s.accuracy.n), *(f"{c:,.0f}" for c in costs))


def numbers(line: Line, digits: int = 2) -> Table:
    """A measured curve as a table, for readers who cannot see the chart."""
    rows = tuple(
        (
            p.density,
            f"{p.mean:.{digits}f}",
            f"{p.low:.{digits}f}" if p.low is not None else "",
            f"{p.high:.{digits}f}" if p.high is not None else "",
            str(len(p.values)),
        )
        for p in line.places
    )
    return Table(line.method, ("density", "mean", "from", "to", "seeds"), rows)
