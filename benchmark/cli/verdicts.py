"""What `score` shows: the verdicts that matter on one screen, or every one with its evidence. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import click

from benchmark.claims.evidence import UNDECIDED
from benchmark.claims.verdicts import Decision
from benchmark.cli.outcome import last_changes, that_matter, verdict_words
from benchmark.cli.terminal import GAP, line_width, shortened, show_paragraph, show_sentence
from benchmark.records.store import Store

MOST = 20  # rows on one screen
ONE_WORD = len("inconclusive")


def show_what_matters(decisions: Sequence[Decision], store: Store) -> None:
    """Counts, then one line a claim: those that do not hold, changed, hold, or are nearest to a verdict."""
    changes = last_changes(store)
    shown = that_matter(decisions, changes, MOST)
    show_sentence(verdict_words(decisions))
    if shown:
        names = max(len(d.claim) for d in shown)
        click.echo("\n".join(["", *(_line(d, names) for d in shown), ""]))
    now = {d.claim: d.spoken_verdict for d in decisions}
    for claim, (before, after) in changes.items():
        if now.get(claim) == after:
            show_sentence(f"Changed by the last run: {claim}, from {before} to {after}")
    if left := len(decisions) - len(shown):
        show_sentence(f"{left} more claims, with what was published and measured of all: --all")


def show_every_verdict(decisions: Sequence[Decision]) -> None:
    """A paragraph for each claim with what was published and measured; decided ones first."""
    for d in sorted(decisions, key=lambda d: (d.verdict in UNDECIDED, d.verdict == "not measured")):
        needs = "" if d.verdict not in UNDECIDED else f" ({d.needed_words})"
        show_paragraph(f"{d.claim}: {d.spoken_verdict}{needs}", indent="")
        show_paragraph(d.statement)
        show_paragraph(f"published: {d.published}")
        if any(check.is_known for check in d.checks):
            show_paragraph(f"measured: {d.measured}")
    show_sentence(verdict_words(decisions))


def _line(decision: Decision, names: int) -> str:
    """One claim: its name in a column of so many characters, its verdict, and of its statement what there is room for.

    Verdicts are padded to one word: a rare longer one takes its room from its own statement, not from all.
    """
    begin = f"{decision.claim.ljust(names)}{GAP}{decision.spoken_verdict.ljust(ONE_WORD)}{GAP}"
    return begin + shortened(_words(decision), line_width() - len(begin))


def _words(decision: Decision) -> str:
    if decision.verdict not in UNDECIDED:
        return decision.statement
    return f"{decision.needed_words}: {decision.statement}"
