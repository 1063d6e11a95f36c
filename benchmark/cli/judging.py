"""Verbs that judge: score, power, leaderboard, figure, report, regression, fsck."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.cli.options import all_option, folder_option, json_option, results_option, without_gc
from benchmark.utils.errors import EXIT_DEVIATION, EXIT_USAGE, BadInput, EnvironmentProblem

if TYPE_CHECKING:
    from benchmark.protocols import Protocol
    from benchmark.records.store import Store
    from benchmark.sharing.derive import RegressionResult

SHOWN_NEEDS = 20


@click.command()
@results_option
@all_option
@json_option
@without_gc
def score(results: Path, every: bool, as_json: bool) -> None:
    """Decide every published claim from the records.

    Shows 20 claims at most: some that do not hold, that the last run changed, that hold, that are nearest to a verdict.
    --all lists every claim with what was published and measured, as --json does.

    \b
    Examples:
      lotterybench score
      lotterybench score --all
      lotterybench score --results /tmp/mine --json

    \b
    Exit codes: 0 all that is measured holds or is open, 1 a measured claim deviates or is contradicted,
    2 no record was read. Claims of arithmetic alone, which need no record, are shown and set no code.
    """
    from benchmark import protocols
    from benchmark.claims import verdicts
    from benchmark.claims.observations import Observations
    from benchmark.cli.verdicts import show_every_verdict, show_what_matters
    from benchmark.planning.select import existing_results

    store = existing_results(results)
    seen = {protocol.id: Observations(protocol, store.records(protocol)) for protocol in protocols.load_all()}
    decisions = verdicts.decide_all(seen)
    if as_json:
        click.echo(json.dumps(verdicts.to_json(decisions), indent=1))
    elif every:
        show_every_verdict(decisions)
    else:
        show_what_matters(decisions, store)
    if not any(own.every_record for own in seen.values()):
        raise click.exceptions.Exit(EXIT_USAGE)
    if {d.verdict for d in decisions if any(d.cells.values())} & {"deviates", "contradicted"}:
        raise click.exceptions.Exit(EXIT_DEVIATION)


@click.command()
@results_option
@all_option
@json_option
@without_gc
def power(results: Path, every: bool, as_json: bool) -> None:
    """How many more seeds each open claim needs, and what they cost here, cheapest first.

    Seeds that should decide with 80 % power if means stay as they are; where a protocol is decided at planned looks,
    those to the next look. `plan` and `run` take the same order.

    \b
    Examples:
      lotterybench power
      lotterybench power --json
    """
    from benchmark import protocols
    from benchmark.cli.terminal import GAP, line_width, shortened, show_sentence, show_table
    from benchmark.planning.power import claim_needs, to_json
    from benchmark.planning.select import existing_results
    from benchmark.utils.files import spoken

    needs = claim_needs(existing_results(results), protocols.load_all())
    if as_json:
        click.echo(json.dumps(to_json(needs), indent=1))
        return
    shown = needs if every else needs[:SHOWN_NEEDS]
    rows = [
        [
            n.claim,
            n.verdict,
            n.words.removeprefix("about "),
            spoken(n.core_seconds) if n.core_seconds is not None else "-",
        ]
        for n in shown
    ]
    headings = ["claim", "verdict", "needs, about", "core time"]
    statements = [n.statement if every else shortened(n.statement, line_width() - len(GAP)) for n in shown]
    show_table("Power", headings, rows, whole=["claim", "verdict"], beneath=statements)
    if len(needs) > len(rows):
        show_sentence(f"{len(needs) - len(rows)} more claims need more than these, or seeds cannot decide them: --all")


@click.command()
@results_option
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    help="File to write, with its pages in a folder beside it. [default: leaderboard.md, with docs/board/]",
)
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 if a file is not what the records say.")
@click.option(
    "--with",
    "others",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="A further results folder to read, e.g. of a plugin that is not public. Without --to, what it holds is "
    "ranked on the terminal and no file is written.",
)
@without_gc
def leaderboard(results: Path, to: Path | None, check: bool, others: tuple[Path, ...]) -> None:
    """Regenerate leaderboard.md and its pages from the records.

    \b
    Examples:
      lotterybench leaderboard
      lotterybench leaderboard --check
      lotterybench leaderboard --with /tmp/mine
      lotterybench leaderboard --with /tmp/mine --to /tmp/mine.md
    """
    from benchmark import protocols
    from benchmark.planning.select import existing_results
    from benchmark.records.store import Store
    from benchmark.report import leaderboard as board

    known, store, extra = protocols.load_all(), existing_results(results), [Store(other) for other in others]
    for other in others:
        if not other.is_dir():
            raise BadInput(f"--with {other}", "there is no such folder", "Give the --results folder of a run")
    for line in _differing_dense(known, store, extra):
        click.echo(f"note: {line}", err=True)
    if extra and to is None:
        if check:
            raise BadInput("--check --with", "it is not said which file to check", "Give --to")
        click.echo(board.render_touched(store, known, extra))
        return
    path = to or Path("leaderboard.md")
    if not check:
        pages = len(board.write(store, known, path, extra)) - 1
        click.echo(f"Wrote {path} and {pages} files in {path.parent / board.folder_of(path)}")
        return
    made = board.render(store, known, extra, path)
    if wrong := board.problems(path, made):
        for file, why in wrong.items():
            click.echo(f"{file} {why}")
        click.echo(f"This is not the board of the records in {results}. Regenerate it: lotterybench leaderboard")
        raise click.exceptions.Exit(EXIT_DEVIATION)
    click.echo(f"{path} and {len(made) - 1} files in {path.parent / board.folder_of(path)} are what the records say.")


def _differing_dense(known: Sequence[Protocol], store: Store, extra: Sequence[Store]) -> Iterator[str]:
    """Where further folders hold other dense networks than the first."""
    if extra:
        from benchmark.sharing.remeasure import differing_dense

        for other in extra:
            for protocol in (protocol for protocol in known if (other.root / protocol.key).is_dir()):
                if said := differing_dense(protocol, store, other):
                    yield said


@click.command()
@click.argument("protocol")
@results_option
@click.option("--to", type=click.Path(path_type=Path), required=True, help="A .png or .svg file.")
def figure(protocol: str, results: Path, to: Path) -> None:
    """Draw a protocol's measured curves over the published ones.

    \b
    Examples:
      lotterybench figure mnist1d/mlp --to mnist1d.png
      lotterybench figure lth/lenet-mnist --to lenet.png
    """
    from benchmark import protocols
    from benchmark.planning.select import existing_results
    from benchmark.report.figure import draw

    draw(existing_results(results), protocols.load(protocol), to)
    click.echo(f"Wrote {to}")


@click.command()
@results_option
@click.option("--to", type=click.Path(path_type=Path), default=Path("report"), show_default=True, help="Folder.")
@folder_option("--docs", Path("docs"), "Folder of Markdown pages that belong to the site; without it there are none.")
def report(results: Path, to: Path, docs: Path) -> None:
    """Write the HTML report: charts, claims and provenance as pages that open without a network.

    \b
    Examples:
      lotterybench report
      lotterybench report --results /tmp/mine --to /tmp/my-report
    """
    from benchmark import protocols
    from benchmark.planning.select import existing_results
    from benchmark.report.html.site import build

    count = build(existing_results(results), protocols.load_all(), to, docs)
    click.echo(f"Wrote {count} pages. Open {to / 'index.html'}")


@click.command()
@results_option
@click.option(
    "--board",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("leaderboard.md"),
    show_default=True,
    help="The committed leaderboard.",
)
@folder_option("--figures", Path("docs"), "Folder of the committed pictures.")
@click.option("--derive-only", is_flag=True, help="Make no cell again: no training, no torch.")
def regression(results: Path, board: Path, figures: Path, derive_only: bool) -> None:
    """Derive every committed number again, make a fixed set of fast cells again, and compare.

    Every file is held against every digest first, as `lotterybench fsck` does. Verdicts, the board with its pages, and
    pictures must be the same byte for byte. Cells must be the same bit for bit on the processor and versions of their
    records; elsewhere they must lie within tolerances that each line states.

    \b
    Examples:
      lotterybench regression
      lotterybench regression --derive-only

    \b
    Exit codes: 0 all is the same, 1 something is not, 2 nothing is measured that could be compared,
    3 the environment (no data, no torch, full disk).
    """
    from benchmark import protocols
    from benchmark.planning.select import existing_results
    from benchmark.sharing.derive import derive

    store, known = existing_results(results), protocols.load_all()
    found = derive(store, known, board, figures)
    _every_file(store, found)
    made = 0 if derive_only else _remeasured(store, found)
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


def _every_file(store: Store, found: RegressionResult) -> None:
    """What `fsck` says, added to `found`."""
    from benchmark.sharing.fsck import fsck as look

    checked = look(store)
    found.reasons = list(dict.fromkeys([*checked.wrong, *found.reasons]))
    if not checked.wrong:
        found.agreed.insert(0, checked.sentence())


@click.command()
@results_option
@click.option("--quiet", is_flag=True, help="Do not say which protocol is looked at.")
def fsck(results: Path, quiet: bool) -> None:
    """Hold every file of a results folder against every digest that names it.

    Records, their curves, the masks of every level, protocols and LOCK.json, what plugins say of themselves, marks of
    verification. Each file that is not sound is one line; the others are looked at all the same.

    \b
    Examples:
      lotterybench fsck
      lotterybench fsck --results /tmp/mine

    \b
    Exit codes: 0 every digest holds, 1 a file is not sound, 2 there is no such folder.
    """
    from benchmark.planning.select import existing_results
    from benchmark.sharing.fsck import fsck as look

    say = (lambda _: None) if quiet else (lambda key: click.echo(f"... {key}", err=True))
    found = look(existing_results(results), say)
    for line in found.wrong:
        click.echo(f"WRONG: {line}")
    if found.wrong:
        click.echo(f"{len(found.wrong)} files are not sound.")
        raise click.exceptions.Exit(EXIT_DEVIATION)
    click.echo(f"{found.sentence()}.")


def _remeasured(store: Store, found: RegressionResult) -> int:
    """Make the fixed cells again, adding to `found`; how many there were."""
    try:
        from benchmark.sharing.regression import FIXED, remeasure
    except ImportError as error:
        raise EnvironmentProblem(
            "torch", f"cannot be imported ({error})", "Install it, or take --derive-only"
        ) from error
    from benchmark import protocols

    made = 0
    for fixed in FIXED:
        with tempfile.TemporaryDirectory() as folder:
            outcome = remeasure(
                protocols.load(fixed.protocol), store, fixed, Path(folder), lambda what: click.echo(f"... {what}")
            )
        made += len(outcome.agreed)
        found.add(outcome)
    return made
