"""Verbs that only read: list, info."""

from __future__ import annotations

import json

import click

from benchmark.commands.papers import paper_counts, show_names, show_paper, show_paper_counts
from benchmark.commands.tables import show_table
from benchmark.errors import BadInput
from benchmark.method_text import method_words
from benchmark.plan import method_names
from benchmark.protocol import Protocol, load, load_all
from benchmark.records import DENSE
from benchmark.registry import names as pruner_names
from benchmark.spec.frozen import flat
from benchmark.units import density_text


def list_(as_json: bool) -> None:
    """What there is: protocols, their methods, pruners, papers with published results."""
    pruners = pruner_names()
    known = load_all()
    if as_json:
        document = {
            "protocols": [
                {"id": p.id, "version": p.version, "title": p.title, "methods": method_names(p), "seeds": list(p.seeds)}
                for p in known
            ],
            "pruners": pruners,
            "papers": paper_counts(),
        }
        click.echo(json.dumps(document, indent=1))
        return
    rows = [[p.key, p.title, ", ".join(method_names(p))] for p in known]
    show_table("Protocols", ["protocol", "what it is", "methods"], rows)
    click.echo(f"Pruners: {', '.join(pruners)}\n")
    show_paper_counts()


def info(name: str | None, table: str | None, rows: int, as_json: bool) -> None:
    """One protocol, field by field with sources; or the published record of a paper."""
    if name is None:
        show_names()
        return
    if "/" not in name and not name.endswith((".yaml", ".yml")):
        show_paper(name, table, rows, as_json)
        return
    if table is not None:
        raise BadInput(f"--table {table}", f"'{name}' is a protocol, which has no tables", "Name a paper")
    protocol = load(name)
    if as_json:
        click.echo(json.dumps({**protocol.document, "digest": protocol.digest}, indent=1))
        return
    click.echo(f"{protocol.key}  {protocol.title}\ndigest {protocol.digest}\n")
    sections = ("network", "data", "recipe", "evaluation", "pruning", "levels", "statistics")
    if not protocol.trains:
        click.echo("measures: masks; no network is trained, so there is no recipe and no accuracy\n")
    for section in (name for name in sections if name in protocol.document):
        click.echo(f"{section}:")
        for field, value in flat(section, protocol.document[section]):
            click.echo(f"  {field.partition('.')[2]} = {value}")
        for field, source in protocol.sources.items():
            if field.split(".")[0] == section:
                click.echo(f"    source of {field}: {source}")
    click.echo("methods:")
    for method in method_names(protocol):
        click.echo(f"  {method}: {_method_words(protocol, method)}")
    for deviation in protocol.deviations:
        click.echo(f"deviation: {deviation}")


def _method_words(protocol: Protocol, method: str) -> str:
    levels = protocol.measured_levels(method) if method != DENSE else ()
    shown = ", ".join(density_text(protocol, level) for level in levels[:6]) + (", ..." if len(levels) > 6 else "")
    return method_words(protocol, method) + (f", at {shown}" if levels else "")
