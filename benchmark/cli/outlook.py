"""What `plan` and `run` show of a plan: what is left, in which order, what fits the time, what is skipped. No torch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from benchmark.cli.selection import waiting_entry, waiting_words
from benchmark.cli.terminal import counted, show_sentence, show_table, unit_of
from benchmark.datasets.source import data_root, needs_download
from benchmark.planning.batching import Batch, estimate
from benchmark.planning.plan import PlannedJob
from benchmark.planning.priority import REASONS
from benchmark.planning.select import Selection, protocols_in
from benchmark.protocols import Protocol
from benchmark.protocols.cells import cells_of
from benchmark.records.store import Store
from benchmark.utils.files import spoken

if TYPE_CHECKING:
    from benchmark.planning.purchase import Purchases

SCREEN = 15  # rows of a plan of many protocols
SHOWN = 4  # protocols whose groups are named
CHANCE = (
    "chance: of being decided with that many seeds in all; base rate: the share of comparable claims that were decided."
)


@dataclass(frozen=True)
class Outlook:
    """A plan, how it is worked off, and how much of it fits.

    `nothing`: where only part of what is missing is planned, what is said of a protocol without such cells, as in
    `nothing bought`: it need not be done.
    """

    planned: Sequence[PlannedJob]
    batches: Sequence[Batch]
    workers: int
    budget: float | None
    device: str = "cpu"
    nothing: str = ""

    @property
    def state(self) -> str:
        """What its cells are: all that is left, or the part that is planned."""
        return "planned" if self.nothing else "left"

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


def nothing_words(bought: bool, narrowed: bool) -> str:
    """What is said of a protocol without planned cells: it is done only where all that is missing is planned."""
    return "nothing bought" if bought else "nothing left" if narrowed else ""


def say_left_out(too_long: Collection[str]) -> None:
    """Say that a budget leaves out whole protocols, if it does."""
    if too_long:
        words = f"{counted(len(too_long), 'protocol')} of which no single training fits the budget here."
        show_sentence(f"Left out: {words}")


def show_purchases(bought: Purchases, unit: str, as_json: bool = False) -> None:
    """Print which verdicts a budget should buy, cheapest first."""
    if as_json:
        fields = ("claim", "paper", "protocol", "seeds", "chance", "basis")
        document = [
            {**{field: getattr(each.offer, field) for field in fields}, "cells": len(each.cells),
             f"{unit.lower()}_seconds": round(each.seconds, 1)}
            for each in bought.taken
        ]  # fmt: skip
        click.echo(json.dumps({"expected_verdicts": round(bought.expected, 2), "bought": document}, indent=1))
        return
    of_open = f"of {counted(bought.open_claims, 'open claim')} whose data is here."
    if not bought.taken:
        show_sentence(f"No verdict can be bought, {of_open}")
        return
    rows = [
        [each.offer.claim, each.offer.seeds, f"{each.offer.chance:.0%}", each.offer.basis, len(each.cells),
         spoken(each.seconds) if each.cells else "paid above"]
        for each in bought.taken
    ]  # fmt: skip
    headings = ["claim", "seeds", "chance", "it is", "cells", f"{unit} time"]
    show_table("Verdicts to buy", headings, rows, whole=["claim"])
    show_sentence(CHANCE)
    show_sentence(f"About {bought.expected:.1f} verdicts for {spoken(bought.seconds)} of one {unit}, {of_open}")


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
        [n, f"{e['protocol']} {e['job']}", len(e["cells"]), e["side_by_side"], spoken(e["seconds"]), e["why"]]
        for n, e in enumerate(entries, 1)
    ]
    show_table("Order", ["", "job", "cells", "side by side", "time", "why then"], rows)


def show_plan(
    selection: Selection,
    outlook: Outlook,
    store: Store,
    as_json: bool = False,
    waiting: Selection | None = None,
    every: bool = False,
) -> None:
    """Print the plan of a selection; `waiting`: methods of plugins whose files were not given.

    `every`: a row for each method and protocol, not a screen of what comes first. JSON is always complete.
    """
    document = [*_entries(selection, outlook), *(waiting_entry(pair, store) for pair in waiting or ())]
    if as_json:
        click.echo(json.dumps(document, indent=1))
        return
    for pair in waiting or ():
        show_sentence(f"Left out: {waiting_words(pair)}")
    _show_rows(selection, outlook, every)
    if outlook.device == "cuda" and outlook.batches:
        show_sentence(_side_by_side(outlook.batches))
    if guessed := _guessed(outlook, store):
        show_sentence(guessed)
    planned = {item.job.protocol.key for item in outlook.planned}
    if missing := missing_data([pair for pair in selection if pair[0].key in planned]):
        show_sentence(missing)
    left = sum(len(item.job.cells) for item in outlook.planned)
    what = f"{counted(left, 'cell')} {outlook.state}"
    time = spoken(outlook.seconds)
    here = f"{'' if time.startswith('<') else 'about '}{time} here with {counted(outlook.workers, 'worker')}"
    fits = "" if outlook.budget is None else f"; about {sum(outlook.fits):,} of them fit {_given(outlook.budget)}"
    show_sentence(f"{what}, {here}{fits}. Finished cells are kept.")


def _given(seconds: float) -> str:
    """A budget, exactly: it is no estimate."""
    return spoken(seconds) if seconds < 360_000 else f"{seconds / 3600:,.0f} h"


def _guessed(outlook: Outlook, store: Store) -> str:
    """What a GPU's time, or next to no time, is said from where no record says it; empty if records do."""
    if outlook.device == "cpu" and outlook.seconds >= 1:
        return ""
    planned: dict[Protocol, set[str]] = {}
    for item in outlook.planned:
        planned.setdefault(item.job.protocol, set()).add(item.job.method)
    guessed = [p for p, methods in planned.items() if not _was_timed(p, methods, store, outlook.device)]
    if not guessed:
        return ""
    where = "on a GPU" if outlook.device == "cuda" else "here"
    return f"Not timed {where}, so estimated from operations: {len(guessed)} of {counted(len(planned), 'protocol')}."


def _was_timed(protocol: Protocol, methods: Collection[str], store: Store, device: str) -> bool:
    """Whether some record says how long a training takes there; of masks and analyses, how long each method takes."""
    timed = [record for record in store.records(protocol) if record.cost is not None]
    if protocol.trains:
        return any(record.provenance.device.startswith(device) for record in timed)
    return set(methods) <= {record.method.name for record in timed}


def _side_by_side(batches: Sequence[Batch]) -> str:
    """How many networks are to share a GPU, by protocol, those first that come first."""
    widths: dict[str, str] = {}
    for batch in batches:
        if batch.width > 1:
            words = f"{batch.width}{' (exploring)' if batch.exploring else ''} of {batch.jobs[0].job.protocol.key}"
            widths.setdefault(batch.jobs[0].job.protocol.key, words)
    more = f", and of {counted(len(widths) - SHOWN, 'more protocol')}" if len(widths) > SHOWN else ""
    return f"Side by side on a GPU: {', '.join(list(widths.values())[:SHOWN]) or 'one at a time'}{more}."


def _entries(selection: Selection, outlook: Outlook) -> list[dict[str, Any]]:
    """A plan by method, in plain JSON types."""
    of_method: dict[tuple[str, str], list[tuple[PlannedJob, int]]] = {}
    for job, fitting_cells in zip(outlook.planned, outlook.fits, strict=True):
        of_method.setdefault((job.job.protocol.key, job.job.method), []).append((job, fitting_cells))
    skipped = {protocol.key: _why_skipped(protocol) for protocol in protocols_in(selection)}
    document = []
    for protocol, method in selection:
        own = of_method.get((protocol.key, method), [])
        document.append(
            {
                "protocol": protocol.id,
                "method": method,
                "cells": len(cells_of(protocol, method)),
                "left": sum(len(p.job.cells) for p, _ in own),
                f"{outlook.unit.lower()}_seconds": round(sum(p.seconds for p, _ in own), 1),
                "fits": sum(n for _, n in own),
                "skipped": skipped[protocol.key],
            }
        )
    return document


def _show_rows(selection: Selection, outlook: Outlook, every: bool) -> None:
    """The table: by method where one protocol is selected or every row is asked for, else by protocol, a screen of
    those of which something is left."""
    protocols = protocols_in(selection)
    by_method = every or len(protocols) == 1
    groups: dict[tuple[str, ...], list[int]] = {}
    for (protocol, method), entry in zip(selection, _entries(selection, outlook), strict=True):
        seconds = entry[f"{outlook.unit.lower()}_seconds"]
        sums = groups.setdefault((protocol.key, method) if by_method else (protocol.key,), [0, 0, 0, 0])
        for n, number in enumerate((entry["cells"], entry["left"], seconds, entry["fits"])):
            sums[n] += number
    shown = {key: sums for key, sums in groups.items() if by_method or sums[1]}
    if not by_method and outlook.budget is not None:
        shown = {key: sums for key, sums in shown.items() if sums[3]}
    first = list(shown.items()) if by_method else list(shown.items())[:SCREEN]
    rows = [
        [*key, cells, left, spoken(seconds) if left else "-", _fitting(left, fits, outlook.nothing)]
        for key, (cells, left, seconds, fits) in first
    ]
    within = f"fits {_given(outlook.budget)} x {outlook.workers}" if outlook.budget else "will run"
    names = ["protocol", "method"] if by_method else ["protocol"]
    if rows:
        headings = [*names, "cells", outlook.state, f"{outlook.unit} time", within]
        show_table("Plan", headings, rows, whole=["protocol"])
    if more := len(groups) - len(first):
        without = sum(not sums[1] for sums in groups.values())
        which = "any" if without == more else f"{without} of them"
        state = f"{outlook.nothing} of {which}" if outlook.nothing else f"{without} of them done"
        show_sentence(f"{counted(more, 'more protocol')}, {state}; --all shows them, and methods.")


def _fitting(left: int, fits: int, nothing: str) -> str:
    return (nothing or "done") if not left else "all of it" if left == fits else counted(fits, "cell")


def missing_data(selection: Selection) -> str:
    """One line on the data sets that are not here, whatever number of protocols they concern; empty if all are."""
    root, names = data_root(), Counter(protocol.data.name for protocol in protocols_in(selection))
    missing = [f"{name} ({counted(n, 'protocol')})" for name, n in names.items() if needs_download(name, root)]
    if not missing:
        return ""
    return f"Not under {root}, so `run` downloads it: {', '.join(missing)}. Or set LOTTERYBENCH_DATA to where it lies."


def _why_skipped(protocol: Protocol) -> str | None:
    root = data_root()
    if not needs_download(protocol.data.name, root):
        return None
    return f"{protocol.data.name} is not under {root}: it will be downloaded, or set LOTTERYBENCH_DATA"
