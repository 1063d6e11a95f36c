"""The verb regression: do committed numbers still follow from committed records, and records from the code?"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from benchmark import protocols
from benchmark.planning.select import existing_results
from benchmark.protocols import Protocol
from benchmark.records.store import Store
from benchmark.sharing.regression import FIXED, Outcome, derive
from benchmark.utils.errors import EXIT_DEVIATION, EXIT_USAGE, EnvironmentProblem


def regression(results: Path, board: Path, figures: Path, derive_only: bool) -> None:
    """Derive every committed number again, make a fixed set of fast cells again, and compare."""
    store, known = existing_results(results), protocols.load_all()
    found = derive(store, known, board, figures)
    made = 0 if derive_only else _remeasured(store, known, found)
    for line in found.agreed:
        click.echo(f"same: {line}")
    for line in found.notes:
        click.echo(f"note: {line}")
    for line in found.reasons:
        click.echo(f"REGRESSION: {line}")
    if found.reasons:
        raise click.exceptions.Exit(EXIT_DEVIATION)
    if not made and not any(store.records(protocol) for protocol in known):
        click.echo("Nothing is measured: there is no record to compare anything with.")
        raise click.exceptions.Exit(EXIT_USAGE)
    click.echo("No regression.")


def _remeasured(store: Store, known: Sequence[Protocol], found: Outcome) -> int:
    """Make the fixed cells again, adding to `found`; how many there were."""
    try:
        from benchmark.sharing.regression import remeasure
    except ImportError as error:
        raise EnvironmentProblem(
            "torch", f"cannot be imported ({error})", "Install it, or take --derive-only"
        ) from error
    by_id = {protocol.id: protocol for protocol in known}
    made = 0
    for fixed in FIXED:
        with tempfile.TemporaryDirectory() as folder:
            outcome = remeasure(
                by_id[fixed.protocol], store, fixed, Path(folder), lambda what: click.echo(f"... {what}")
            )
        made += len(outcome.agreed)
        found.add(outcome)
    return made
