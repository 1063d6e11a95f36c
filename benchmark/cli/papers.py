"""What `list` and `info` show: of a paper its sources, settings, tables, claims and gaps; of a protocol its fields.

Functions of published records and protocols, without torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from benchmark import protocols
from benchmark.claims import papers as published
from benchmark.claims.published import Published
from benchmark.claims.table_reader import results
from benchmark.claims.tables import Result, ResultTable, ResultTables, Setting, why_no_target
from benchmark.cli.terminal import GAP, counted, line_width, shortened, show_paragraph, show_sentence, show_table
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, density_text, method_names, method_words
from benchmark.utils.errors import BadInput, did_you_mean, some_of
from benchmark.utils.strict_model import flat

PREVIEW = 8  # rows of the first table in the overview of a paper
UNITS = {
    "percent-remaining": "% remaining",
    "percent-pruned": "% pruned",
    "sparsity": "sparsity",
    "density": "density",
    "log10-compression": "log10 compression",
}


def paper_counts() -> list[dict[str, Any]]:
    """Every paper with its numbers of statements, of those that a rule decides, in one piece or in parts, of claims,
    which are those pieces and parts, and of rows of published results. What this suite asks besides is a claim, but no
    statement of a paper."""
    papers = published.load_all()
    own = {p.paper.key: sum(c.stated_by == "suite" and c.part_of is None for c in p.claims) for p in papers}
    return [
        {
            "key": paper.paper.key,
            "title": paper.paper.title,
            "statements": len(paper.whole_statements) - own[paper.paper.key],
            "with_a_rule": paper.with_a_rule - own[paper.paper.key],
            "claims": len(paper.claims),
            "result_rows": published.load_record(paper.paper.key).rows,
        }
        for paper in papers
    ]


def show_paper_counts() -> None:
    """The table of papers of `list`."""
    rows = [
        [c["key"], c["title"], f"{c['with_a_rule']} of {c['statements']}", c["claims"] or "", c["result_rows"] or ""]
        for c in paper_counts()
    ]
    show_table("Papers", ["paper", "title", "statements with a rule", "claims", "result rows"], rows)


def show_known(known: Sequence[Protocol], pruners: Sequence[str]) -> None:
    """`list` on a screen or two: a line for each protocol, then how many there are of what, and how to see more."""
    names = max(len(protocol.id) for protocol in known)
    for protocol in known:
        click.echo(f"{protocol.id.ljust(names)}{GAP}{shortened(protocol.title, line_width() - names - len(GAP))}")
    kinds = (
        counted(len(known), "protocol"),
        counted(len(pruners), "pruner"),
        f"{counted(len(published.available()), 'paper')} with published results",
    )
    show_sentence(f"{', '.join(kinds)}. Methods, pruners and papers: lotterybench list --all")
    show_sentence("One of them: lotterybench info lth/lenet-mnist, lotterybench info lth")


def show_names() -> None:
    """What `info` can be asked for."""
    show_paragraph(f"Protocols: {', '.join(protocols.available())}", indent="")
    show_paragraph(f"Papers: {', '.join(published.available())}", indent="")
    show_sentence("Ask for one: lotterybench info lth/lenet-mnist, lotterybench info grasp --table table-2")


def show_paper(key: str, table: str | None, limit: int, as_json: bool, as_yaml: bool = False) -> None:
    """The published record of one paper, or of it one table. Raises BadInput for an unknown key or table, or `as_yaml`.

    `limit`: rows of a table that are printed, 0 for all. JSON is always complete.
    """
    if key not in published.available():
        raise BadInput(f"'{key}'", "is neither a protocol nor a paper", _meant(key))
    if as_yaml:
        raise BadInput("--yaml", f"'{key}' is a paper, and only a protocol is one document", "Name one, or take --json")
    paper, record = published.load(key), published.load_record(key)
    if table is not None:
        results(key, table)  # an unknown table is an error
    tables = [t for t in record.tables if table in (None, t.name)]
    if as_json:
        click.echo(json.dumps(_document(paper, record, tables), indent=1))
    elif table is None:
        _show_overview(paper, record)
    else:
        _show_rows(key, tables[0], limit)


def _meant(key: str) -> str:
    """What to ask for in place of a name that is no protocol and no paper: it may be a method, or begin one's id."""
    begun = [name for name in protocols.available() if name.startswith(f"{key}/")]
    if begun:
        return f"{key}: protocols {some_of(begun)}: lotterybench info {begun[0]}"
    having = [protocol for protocol in protocols.load_all() if key in method_names(protocol)]
    having.sort(key=lambda protocol: sum(protocol.pruning.layer_sizes.values()))
    if having:
        return f"{key} is a method of {some_of([p.id for p in having])}: lotterybench info {having[0].id}"
    known = did_you_mean(key, [*published.available(), *protocols.available()])
    return f"{known}; `lotterybench list --all` shows all"


def _document(paper: Published, record: ResultTables, tables: Sequence[ResultTable]) -> dict[str, Any]:
    key = paper.paper.key
    settings = [record.resolved(setting.id).model_dump(mode="json", exclude_none=True) for setting in record.settings]
    described = [t.model_dump(mode="json", exclude_none=True) for t in tables]
    for each in described:
        each["results"] = [asdict(result) for result in results(key, each["name"])]
    return {
        **paper.model_dump(mode="json", by_alias=True),
        "settings": settings,
        "tables": described,
        "gaps": list(record.gaps),
    }


def _show_overview(paper: Published, record: ResultTables) -> None:
    p = paper.paper
    read = f" Read: {p.versions_read}." if p.versions_read else ""
    arxiv = f", arXiv {p.arxiv}" if p.arxiv[:1].isdigit() else ""
    show_sentence(p.title)
    show_sentence(f"{p.authors} {p.year}{arxiv}{f', {p.venue}' if p.venue else ''}.{read}")
    click.echo()
    show_table("Sources", ["id", "kind", "where"], [[s.id, s.kind, s.where] for s in paper.sources], ["id"])
    if record.settings:
        rows = [
            [s.id, ", ".join(s.protocols) or "none", _setting_words(record.resolved(s.id))] for s in record.settings
        ]
        show_table("\nSettings", ["id", "protocol", "what"], rows, ["id"])
    if record.tables:
        _show_tables(paper, record)
    decided = [[c.id, f"{c.statement} ({c.source})", f"decided by {c.protocol}@{c.version}"] for c in paper.claims]
    parts = {whole.id: [c.id for c in paper.claims if c.part_of == whole.id] for whole in paper.divided}
    decided += [[d.id, f"{d.statement} ({d.source})", f"in parts: {', '.join(parts[d.id])}"] for d in paper.divided]
    left = [[n.id, f"{n.statement} ({n.source})", f"nothing: {n.reason}"] for n in paper.not_decided]
    if decided or left:
        click.echo("\nClaims")
        for name, statement, decides in [*decided, *left]:
            show_paragraph(f"{name} - {statement}")
            show_paragraph(decides, indent="    ")
    if record.gaps:
        click.echo("\nNot read:")
        for gap in record.gaps:
            show_paragraph(f"- {gap}", indent="")
    click.echo(f"\nEverything, with all numbers: lotterybench info {p.key} --json")


def _setting_words(s: Setting) -> str:
    parts = (
        s.architecture,
        s.dataset,
        s.optimizer,
        s.lr is not None and f"learning rate {s.lr}",
        s.batch_size and f"batches of {s.batch_size}",
        s.epochs and f"epochs {s.epochs}",
        s.iterations and f"iterations {s.iterations:,}",
    )
    return "; ".join(part for part in parts if part)


def _show_tables(paper: Published, record: ResultTables) -> None:
    rows = []
    for t in record.tables:
        source = paper.source(t.read_from)
        target = "no" if why_no_target(source, t.status) else "by row" if t.having("status") else "yes"
        rows.append([t.name, t.what, t.source, t.rows, f"{source.kind}, {t.status}", target])
    show_table(
        "\nResults", ["table", "what it holds", "source", "rows", "trust", "may decide"], rows, ["table", "may decide"]
    )
    first = record.tables[0]
    click.echo()
    _show_rows(paper.paper.key, first, PREVIEW)
    click.echo(f"A table in full: lotterybench info {paper.paper.key} --table {first.name} --rows 0")


def _show_rows(key: str, table: ResultTable, limit: int) -> None:
    """The rows of one table, one line per key, and what its columns mean."""
    lines: dict[tuple[Any, ...], dict[str, Result]] = {}
    for result in results(key, table.name):
        lines.setdefault((result.setting, result.method, result.x, result.labels), {})[result.column] = result
    columns, labels = table.having("value"), table.having("label")
    headings = ["setting", "method", *([UNITS[table.x], "density"] if table.x != "none" else []), *labels, *columns]
    rows = []
    for line in list(lines.values())[: limit or None]:
        any_ = next(iter(line.values()))
        x = [_number(any_.x), _number(any_.density)] if table.x != "none" else []
        cells = [text for _, text in any_.labels]
        rows.append([any_.setting, any_.method, *x, *cells, *(_cell(line.get(name)) for name in columns)])
    show_sentence(f"{key}, {table.name}: {table.what} ({table.source})")
    show_table("", headings, rows)
    if len(lines) > len(rows):
        click.echo(f"... {len(lines) - len(rows):,} more lines (--rows 0 shows all)")
    if table.why:
        show_paragraph(f"Status {table.status}: {table.why}", indent="")
    for name, column in table.columns.items():
        if column.role == "value":
            taken = f", taken at: {column.at}" if column.at else ""
            words = f"{column.quantity}, {column.unit}{taken}; {column.meaning}{_spread_words(table, name)}"
            show_paragraph(f"{name}: {words}", indent="")


def _spread_words(table: ResultTable, name: str) -> str:
    kinds = [c.kind for c in table.columns.values() if c.of == name and c.kind]
    if table.having("run"):
        kinds = ["sample-sd"]
    return f"; ± is {kinds[0].replace('-', ' ')}" if kinds else ""


def _cell(result: Result | None) -> str:
    if result is None:
        return ""
    text = _number(result.mean)
    text += f" ± {_number(result.spread)}" if result.spread is not None else ""
    text += f" (n {result.n})" if result.n else ""
    return text if result.status == "read" else f"{text} [{result.status}]"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def show_protocol(protocol: Protocol) -> None:
    """A protocol, field by field with sources."""
    show_sentence(f"{protocol.key}  {protocol.title}")
    click.echo(f"digest {protocol.digest}\n")
    sections = ("network", "data", "recipe", "evaluation", "pruning", "levels", "statistics")
    if protocol.measures == "analysis":
        trained = "networks are trained for them" if protocol.examined.trains else "no network is trained"
        show_sentence(f"measures: analysis; records hold the numbers of analyses; {trained}")
        click.echo()
    elif not protocol.trains:
        show_sentence("measures: masks; no network is trained, so there is no recipe and no accuracy")
        click.echo()
    for section in (name for name in sections if name in protocol.document):
        click.echo(f"{section}:")
        for field, value in flat(section, protocol.document[section]):
            show_paragraph(f"{field.partition('.')[2]} = {value}")
        for field, source in protocol.sources.items():
            if field.split(".")[0] == section:
                show_paragraph(f"source of {field}: {source}", indent="    ")
    click.echo("methods:")
    for method in method_names(protocol):
        show_paragraph(f"{method}: {_method_words(protocol, method)}")
    for deviation in protocol.deviations:
        show_paragraph(f"deviation: {deviation}", indent="")


def _method_words(protocol: Protocol, method: str) -> str:
    levels = protocol.measured_levels(method) if method != DENSE else ()
    shown = ", ".join(density_text(protocol, level) for level in levels[:6]) + (", ..." if len(levels) > 6 else "")
    return method_words(protocol, method) + (f", at {shown}" if levels else "")
