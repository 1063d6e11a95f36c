"""What the pages say in words and tables: fields with sources, provenance, rankings, costs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.claims.observations import Observations
from benchmark.claims.published import Published
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, density_text
from benchmark.records.schema import Record
from benchmark.report.analysis_tables import analysis_tables
from benchmark.report.html.series import Line
from benchmark.report.mask_rankings import mask_standings, mask_table, share_table
from benchmark.report.multiply_adds import tells_more
from benchmark.report.overall import overall, overall_table
from benchmark.report.rankings import shown_levels, standing_table, standings
from benchmark.report.taxonomy import taxonomy
from benchmark.utils.strict_model import flat

SECTIONS = ("measures", "network", "data", "recipe", "evaluation", "pruning", "levels", "seeds", "statistics")


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
    sources = protocol.sources
    return [
        (
            section,
            [
                Row(name, _text(value), _source(name, sources))
                for name, value in flat(section, protocol.document[section])
            ],
        )
        for section in SECTIONS
        if section in protocol.document
    ]


def _text(value: Any) -> str:
    return ", ".join(str(v) for v in value) if isinstance(value, list) else str(value)


def _source(name: str, sources: Mapping[str, str]) -> str:
    covering = [key for key in sources if name == key or name.startswith(f"{key}.")]
    return sources[max(covering, key=len)] if covering else ""


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


def rankings(seen: Observations, papers: Sequence[Any]) -> list[Table]:
    """Methods at each level that the paper names, best first; none where nothing is trained."""
    tables: list[Table] = []
    if not seen.protocol.trains:
        return tables
    for level in shown_levels(seen.protocol, papers):
        if found := standings(seen, level):
            headings, rows = standing_table(seen, found, ranked=True)
            title = f"At {density_text(seen.protocol, level)}"
            tables.append(Table(title, tuple(headings), tuple(tuple(row) for row in rows)))
    return tables


def kind_words(seen: Observations, method: str) -> str:
    """What kind of method one is, by the suite's taxonomy; nothing for the dense network, which has no mask."""
    if method in seen.protocol.analyses:
        return "analysis"
    return "" if method == DENSE else taxonomy(seen, method).words


def overall_facts(seen: Sequence[Observations], papers: Sequence[Published]) -> Table:
    """Methods over all protocols; no rows where nothing can be compared."""
    headings, rows = overall_table(overall(seen, papers))
    return Table("Methods over all protocols and densities", tuple(headings), tuple(tuple(row) for row in rows))


def masks(seen: Observations) -> list[Table]:
    """What a protocol that trains nothing says of its methods' masks; nothing for other protocols."""
    found = mask_standings(seen) if seen.protocol.measures == "masks" else []
    if not found:
        return []
    tables = [("By method", mask_table(seen, found))]
    if tells_more(seen.protocol):
        levels = sorted({level for standing in found for level in standing.levels})
        tables.append(("Multiply-adds left, percent of the dense network's", share_table(seen, levels)))
    return [Table(title, tuple(headings), tuple(tuple(row) for row in rows)) for title, (headings, rows) in tables]


def analyses(seen: Observations) -> list[Table]:
    """The numbers of analyses, where a protocol measures those."""
    return [Table(found.title, found.headings, found.rows) for found in analysis_tables(seen)]


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
