"""What `score` shows: the verdicts that matter on one screen, or every one with its evidence. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import click

from benchmark.claims.evidence import UNDECIDED
from benchmark.claims.verdicts import Decision
from benchmark.claims.wording import needed_text
from benchmark.cli.outcome import last_changes, that_matter, verdict_words
from benchmark.cli.terminal import line_width, shortened, show_paragraph, show_table
from benchmark.records.store import Store

MOST = 20  # rows on one screen


def show_what_matters(decisions: Sequence[Decision], store: Store) -> None:
    """Counts, then one line a claim: those that do not hold, changed, hold, or are nearest to a verdict."""
    changes = last_changes(store)
    shown = that_matter(decisions, changes, MOST)
    show_paragraph(verdict_words(decisions), indent="")
    if shown:
        names, spoken = [d.claim for d in shown], [d.spoken_verdict for d in shown]
        room = line_width() - max(map(len, names)) - max(map(len, spoken)) - 4
        rows = [[d.claim, d.spoken_verdict, shortened(_words(d), room)] for d in shown]
        show_table("", ["claim", "verdict", "statement; what an open one needs"], rows, whole=["claim", "verdict"])
    now = {d.claim: d.spoken_verdict for d in decisions}
    for claim, (before, after) in changes.items():
        if now.get(claim) == after:
            show_paragraph(f"Changed by the last run: {claim}, from {before} to {after}", indent="")
    if left := len(decisions) - len(shown):
        click.echo(f"{left} more claims, with what was published and measured of all: --all")


def show_every_verdict(decisions: Sequence[Decision]) -> None:
    """A paragraph for each claim with what was published and measured; decided ones first."""
    for d in sorted(decisions, key=lambda d: (d.verdict in UNDECIDED, d.verdict == "not measured")):
        needs = "" if d.verdict not in UNDECIDED else f" ({needed_text(d.seeds_still_needed)})"
        click.echo(f"{d.claim}: {d.spoken_verdict}{needs}")
        show_paragraph(d.statement)
        show_paragraph(f"published: {d.published}")
        if any(check.is_known for check in d.checks):
            show_paragraph(f"measured: {d.measured}")
    show_paragraph(verdict_words(decisions), indent="")


def _words(decision: Decision) -> str:
    if decision.verdict not in UNDECIDED:
        return decision.statement
    return f"{needed_text(decision.seeds_still_needed)}: {decision.statement}"
