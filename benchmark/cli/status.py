"""How `status` is printed: sums first, on one screen; every method and claim on request. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import click

from benchmark.claims.evidence import UNDECIDED
from benchmark.cli.terminal import counted, show_sentence, show_table
from benchmark.utils.errors import plain
from benchmark.utils.files import spoken, two_digits

Row = dict[str, Any]
STATES = ("finished", "running", "failed", "missing")
ROWS = 9  # of protocols begun and verdicts together: with 14 lines around them, 23, and a prompt, are a screen of 24


def show_progress(document: dict[str, Any], unit: str, every: bool) -> None:
    """Print what `progress_document` gives. One protocol alone is shown with all its methods, as with `every`."""
    sums = Counter({state: sum(row[state] for row in document["methods"]) for state in STATES})
    protocols = _by_protocol(document["methods"], unit)
    left = sum(row[_hours(unit)] for row in protocols)
    words = ", ".join(f"{sums[state]:,} {state}" for state in STATES)
    click.echo(f"Cells of {counted(len(protocols), 'protocol')}: {words}.")
    if sums["missing"] or sums["running"]:
        time = spoken(3600 * left)
        click.echo(f"{time if time.startswith('<') else f'About {time}'} of one {unit} left.")
    if every or len(protocols) == 1:
        _show_workers(document["workers"])
        _show_submissions(document["submissions"])
        show_table(
            "\nMethods", ["protocol", "method", *STATES, f"{unit}-hours left"], map(_values, document["methods"])
        )
        _show_claims(document["claims"], unit, len(document["claims"]))
        _show_costs(document["costs"])
        return
    rows = ROWS - _say_who_works(document["workers"], document["submissions"])
    begun = [row for row in protocols if row["finished"] or row["running"] or row["failed"]]
    if begun:
        begun.sort(key=lambda row: (not row["running"], not row["missing"]))
        states = [state for state in STATES if sums[state]]  # a column of zeros would take room from names
        table = [
            [row["protocol"], *(row[state] for state in states), _hours_text(row[_hours(unit)], row)] for row in begun
        ]
        show_table("\nBegun", ["protocol", *states, f"{unit}-hours left"], table[: rows - rows // 2], ["protocol"])
    shown = min(len(begun), rows - rows // 2)
    _show_claims(document["claims"], unit, rows - shown)
    more = [f"{counted(len(begun) - shown, 'more protocol')} begun"] if len(begun) > shown else []
    more.append(f"{len(protocols) - len(begun)} not begun")
    show_sentence(f"{', '.join(more)}. Every method and claim: --all")


def _hours(unit: str) -> str:
    return f"{unit.lower()}_hours_left"


def _values(row: Row) -> list[object]:
    return [_hours_text(value, row) if isinstance(value, float) else value for value in row.values()]


def _hours_text(hours: float, row: Row) -> str:
    """Hours to two decimals, large ones to two digits; what is still to do takes some."""
    cells = row["cells_left"] if "cells_left" in row else row["missing"] + row["running"]
    return "< 0.01" if cells and hours < 0.01 else two_digits(hours, 2)


def _by_protocol(methods: Iterable[Row], unit: str) -> list[Row]:
    found: dict[str, Row] = {}
    for row in methods:
        sums = found.setdefault(
            row["protocol"], {"protocol": row["protocol"], **dict.fromkeys(STATES, 0), _hours(unit): 0.0}
        )
        for name in (*STATES, _hours(unit)):
            sums[name] += row[name]
    return list(found.values())


def _show_claims(claims: Sequence[Row], unit: str, most: int) -> None:
    """Verdicts, open ones whose cells take least first, begun or not; how many have which is said of all."""
    open_ = [row for row in claims if row["verdict"] in UNDECIDED]
    open_.sort(key=lambda row: (not row["cells_left"], row[_hours(unit)]))  # what no planned run decides comes last
    decided = [row for row in claims if row["verdict"] not in UNDECIDED]
    shown = [*open_, *decided][:most]
    if shown:
        headings = ["claim", "verdict", "cells left", f"{unit}-hours left", "more seeds"]
        table = [["-" if value is None else value for value in _values(row)] for row in shown]
        show_table("\nVerdicts, nearest first", headings, table, ["claim", "verdict"])
    counts = Counter(row["verdict"].partition(",")[0] for row in claims)
    if claims:
        words = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
        show_sentence(f"Of {counted(len(claims), 'claim')}: {words}.")


def _show_costs(costs: Iterable[Row]) -> None:
    rows = [
        [
            row["protocol"],
            f"{1000 * row['seconds_per_step']:.3g} ms",
            row["records"],
            *map(_percent, (row["error"], row["error_90"])),
            *([row["side_by_side"]] if "side_by_side" in row else []),
        ]
        for row in costs
    ]
    headings = ["protocol", "update", "records", "error", "9 of 10 within", "side by side"]
    show_table("\nExpected cost of an update here", headings[: len(rows[0])] if rows else headings, rows)


def _say_who_works(workers: Sequence[Row], submissions: Sequence[Row]) -> int:
    """One line for all that runs, one for Slurm, in place of their tables; how many lines these are."""
    said = []
    if workers:
        first = f"{workers[0]['job']} of {workers[0]['protocol']} on {workers[0]['host']}"
        said.append(f"{counted(len(workers), 'job')} running, {plain(first)[:44]} first. Logs: --all")
    if submissions:
        said.append(f"{counted(len(submissions), 'submission')} to Slurm. States and logs: --all")
    for line in said:
        click.echo(line)
    return len(said)


def _show_workers(workers: Sequence[Row]) -> None:
    if workers:
        rows = [[row["protocol"], plain(row["job"]), plain(str(row["host"])), row["pid"]] for row in workers]
        show_table("\nRunning", ["protocol", "job", "host", "process"], rows)
    for log in dict.fromkeys(str(row["log"]) for row in workers if row["log"]):
        click.echo(f"Log: {plain(log)}")  # not in the table, which breaks long words


def _show_submissions(submissions: Sequence[Row]) -> None:
    if submissions:
        rows = [
            [plain(row["job"]), plain(row["submitted"]), row["tasks"], _words(row["states"])] for row in submissions
        ]
        show_table("\nSlurm", ["job", "submitted", "tasks", "states"], rows)
    for row in submissions:
        click.echo(plain(f"Logs of job {row['job']}: {row['logs']}"))


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.0f} %"


def _words(found: dict[str, int]) -> str:
    return ", ".join(f"{count} {state.lower()}" for state, count in sorted(found.items())) or "not known any more"
