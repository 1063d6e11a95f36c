"""The verb regression: do committed numbers still follow from committed records, and records from the code?"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from benchmark import protocol as protocols
from benchmark.commands.options import existing_results, results_option
from benchmark.errors import EXIT_DEVIATION, EXIT_USAGE, EnvironmentProblem
from benchmark.protocol import Protocol
from benchmark.regression.derived import derive
from benchmark.regression.fixed import FIXED
from benchmark.regression.outcome import Outcome
from benchmark.store import Store


@click.command()
@results_option
@click.option(
    "--board",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("leaderboard.md"),
    show_default=True,
    help="The committed leaderboard.",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("docs"),
    show_default=True,
    help="Folder of the committed pictures.",
)
@click.option("--derive-only", is_flag=True, help="Make no cell again: no training, no torch.")
def regression(results: Path, board: Path, figures: Path, derive_only: bool) -> None:
    """Derive every committed number again, make a fixed set of fast cells again, and compare.

    Verdicts, board and pictures must be the same byte for byte. Cells must be the same bit for bit on the processor
    and versions of their records; elsewhere they must lie within tolerances that each line states.

    \b
    Examples:
      lotterybench regression
      lotterybench regression --derive-only

    \b
    Exit codes: 0 all is the same, 1 something is not, 2 nothing is measured that could be compared,
    3 the environment (no data, no torch, full disk).
    """
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
        from benchmark.regression.remeasured import remeasure
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
