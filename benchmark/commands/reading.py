"""Verbs that only read: list, info, plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from benchmark.commands.papers import paper_counts, show_names, show_paper, show_paper_counts
from benchmark.commands.plugins import chosen, waiting_entry, waiting_words
from benchmark.commands.selecting import Selection, protocols_in
from benchmark.commands.tables import show_table, spoken
from benchmark.data_root import data_root, needs_download
from benchmark.errors import BadInput
from benchmark.method_text import method_words
from benchmark.plan import PlannedJob, cells_of, fitting, method_names, plan
from benchmark.power import plan_order
from benchmark.protocol import Protocol, load, load_all
from benchmark.records import DENSE
from benchmark.registry import names as pruner_names
from benchmark.spec.frozen import flat
from benchmark.store import Store
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


def plan_(
    only: tuple[str, ...],
    results: Path,
    budget: float | None,
    workers: int,
    retry_failed: bool,
    plugins: tuple[Path, ...],
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """What is left to measure, how long it should take here, what is skipped and why."""
    store = Store(results)
    picked = chosen(only, store, plugins, settings)
    planned = plan(picked.selection, store, retry_failed, plan_order(store, protocols_in(picked.selection)))
    show_plan(picked.selection, planned, store, budget, workers, as_json, picked.waiting)


def show_plan(
    selection: Selection,
    planned: Sequence[PlannedJob],
    store: Store,
    budget: float | None,
    workers: int,
    as_json: bool = False,
    waiting: Selection | None = None,
) -> None:
    """Print the plan of a selection; `waiting`: methods of plugins whose files were not given."""
    fits = fitting(planned, workers, budget)
    of_method: dict[tuple[str, str], list[tuple[PlannedJob, int]]] = {}
    for job, fitting_cells in zip(planned, fits, strict=True):
        of_method.setdefault((job.job.protocol.key, job.job.method), []).append((job, fitting_cells))
    skipped = {protocol.key: _why_skipped(protocol) for protocol in protocols_in(selection)}
    rows, document = [], []
    for protocol, method in selection:
        own = of_method.get((protocol.key, method), [])
        left = sum(len(p.job.cells) for p, _ in own)
        seconds = sum(p.seconds for p, _ in own)
        why = skipped[protocol.key]
        entry = {
            "protocol": protocol.id,
            "method": method,
            "cells": len(cells_of(protocol, method)),
            "left": left,
            "core_seconds": round(seconds, 1),
            "fits": sum(n for _, n in own),
            "skipped": why,
        }
        document.append(entry)
        note = why or ("all of it" if left == entry["fits"] else f"{entry['fits']} cells")
        rows.append(
            [protocol.key, method, entry["cells"], left, spoken(seconds) if left else "-", note if left else "done"]
        )
    document += [waiting_entry(pair, store) for pair in waiting or ()]
    if as_json:
        click.echo(json.dumps(document, indent=1))
        return
    for pair in waiting or ():
        click.echo(f"Left out: {waiting_words(pair)}")
    within = f"fits {spoken(budget)} x {workers}" if budget else "will run"
    show_table("Plan", ["protocol", "method", "cells", "left", "core time", within], rows)
    left = sum(len(p.job.cells) for p in planned)
    hours = spoken(sum(p.seconds for p in planned) / workers)
    fitting_now = "" if budget is None else f"; about {sum(fits)} of them fit {spoken(budget)}"
    click.echo(f"{left} cells left, about {hours} here with {workers} worker(s){fitting_now}. Finished cells are kept.")


def _why_skipped(protocol: Protocol) -> str | None:
    root = data_root()
    if not needs_download(protocol.data.name, root):
        return None
    return f"{protocol.data.name} is not under {root}: it will be downloaded, or set LOTTERYBENCH_DATA"
