"""What `plan` and `run` show of a plan: what is left, in which order, what fits the time, what is skipped. No torch."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import click

from benchmark.cli.selection import waiting_entry, waiting_words
from benchmark.cli.terminal import show_table, unit_of
from benchmark.datasets.source import data_root, needs_download
from benchmark.planning.batching import Batch, estimate
from benchmark.planning.plan import PlannedJob
from benchmark.planning.priority import REASONS
from benchmark.planning.select import Selection, protocols_in
from benchmark.protocols import Protocol
from benchmark.protocols.cells import cells_of
from benchmark.records.store import Store
from benchmark.utils.files import spoken


@dataclass(frozen=True)
class Outlook:
    """A plan, how it is worked off, and how much of it fits."""

    planned: Sequence[PlannedJob]
    batches: Sequence[Batch]
    workers: int
    budget: float | None
    device: str = "cpu"

    @property
    def unit(self) -> str:
        """What is counted in hours: core or GPU."""
        return unit_of(self.device)

    @cached_property
    def fits(self) -> tuple[int, ...]:
        """How many cells of each job should be done in time."""
        if self.budget is None:
            return tuple(len(item.job.cells) for item in self.planned)
        return estimate(self.planned, self.batches, self.workers, self.budget).cells

    @cached_property
    def seconds(self) -> float:
        """Until all is done."""
        return estimate(self.planned, self.batches, self.workers).seconds


def say_left_out(too_long: Collection[str]) -> None:
    """Say that a budget leaves out whole protocols, if it does."""
    if too_long:
        click.echo(f"Left out: {len(too_long)} protocols of which no single training fits the budget here.")


def show_order(outlook: Outlook, first: int, as_json: bool = False) -> None:
    """Print the first jobs of a plan in the order in which a worker takes them."""
    entries: list[dict[str, Any]] = [
        {
            "protocol": item.job.protocol.id,
            "job": item.job.name,
            "cells": [f"{cell.method}/{cell.name}" for cell in item.job.cells],
            "side_by_side": batch.width,
            "seconds": round(item.seconds, 1),
            "why": REASONS[item.tier],
        }
        for batch in outlook.batches
        for item in batch.jobs
    ][:first]
    if as_json:
        click.echo(json.dumps(entries, indent=1))
        return
    rows = [
        [n, e["protocol"], e["job"], len(e["cells"]), e["side_by_side"], spoken(e["seconds"]), e["why"]]
        for n, e in enumerate(entries, 1)
    ]
    show_table("Order", ["", "protocol", "job", "cells", "side by side", "time", "why then"], rows)


def show_plan(
    selection: Selection,
    outlook: Outlook,
    store: Store,
    as_json: bool = False,
    waiting: Selection | None = None,
) -> None:
    """Print the plan of a selection; `waiting`: methods of plugins whose files were not given."""
    planned, budget, workers, fits = outlook.planned, outlook.budget, outlook.workers, outlook.fits
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
            f"{outlook.unit.lower()}_seconds": round(seconds, 1),
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
    show_table("Plan", ["protocol", "method", "cells", "left", f"{outlook.unit} time", within], rows)
    left = sum(len(p.job.cells) for p in planned)
    hours = spoken(outlook.seconds)
    fitting_now = "" if budget is None else f"; about {sum(fits)} of them fit {spoken(budget)}"
    click.echo(f"{left} cells left, about {hours} here with {workers} worker(s){fitting_now}. Finished cells are kept.")


def _why_skipped(protocol: Protocol) -> str | None:
    root = data_root()
    if not needs_download(protocol.data.name, root):
        return None
    return f"{protocol.data.name} is not under {root}: it will be downloaded, or set LOTTERYBENCH_DATA"
