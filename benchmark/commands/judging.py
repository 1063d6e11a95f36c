"""Verbs that judge: score, leaderboard, figure."""

from __future__ import annotations

import json
from pathlib import Path

import click

from benchmark import protocol as protocols
from benchmark.commands.options import existing_results, json_option, results_option
from benchmark.commands.tables import show_table
from benchmark.errors import EXIT_DEVIATION, EXIT_USAGE


@click.command()
@results_option
@json_option
def score(results: Path, as_json: bool) -> None:
    """Decide every published claim from the records. Exit code 1 if any deviates, 2 if nothing is measured.

    \b
    Examples:
      lotterybench score
      lotterybench score --results /tmp/mine --json
    """
    from benchmark import verdicts

    decisions = verdicts.decide(existing_results(results), protocols.load_all())
    if as_json:
        click.echo(json.dumps(verdicts.to_json(decisions), indent=1))
    else:
        rows = [[d.claim, d.statement, d.published, d.measured, d.spoken_verdict] for d in decisions]
        show_table("Verdicts", ["claim", "statement", "published", "measured", "verdict"], rows)
    found = {decision.verdict for decision in decisions}
    if found <= {"not measured"}:
        raise click.exceptions.Exit(EXIT_USAGE)
    if "deviates" in found:
        raise click.exceptions.Exit(EXIT_DEVIATION)


@click.command()
@results_option
@click.option("--to", type=click.Path(path_type=Path), default=Path("leaderboard.md"), show_default=True)
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 if the file is not what the records say.")
def leaderboard(results: Path, to: Path, check: bool) -> None:
    """Regenerate leaderboard.md from the records.

    \b
    Examples:
      lotterybench leaderboard
      lotterybench leaderboard --check
      lotterybench leaderboard --results /tmp/mine --to /tmp/mine.md
    """
    from benchmark import leaderboard as board

    known, store = protocols.load_all(), existing_results(results)
    if not check:
        board.write(store, known, to)
        click.echo(f"Wrote {to}")
        return
    if not to.exists() or to.read_text(encoding="utf-8") != board.render(store, known):
        click.echo(f"{to} is not what the records in {results} say. Regenerate it: lotterybench leaderboard")
        raise click.exceptions.Exit(EXIT_DEVIATION)
    click.echo(f"{to} is what the records say.")


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
    from benchmark.figure import draw

    draw(existing_results(results), protocols.load(protocol), to)
    click.echo(f"Wrote {to}")


@click.command()
@results_option
@click.option("--to", type=click.Path(path_type=Path), default=Path("report"), show_default=True, help="Folder.")
def report(results: Path, to: Path) -> None:
    """Write the HTML report: charts, claims and provenance as pages that open without a network.

    \b
    Examples:
      lotterybench report
      lotterybench report --results /tmp/mine --to /tmp/my-report
    """
    from benchmark.report import build

    count = build(existing_results(results), protocols.load_all(), to)
    click.echo(f"Wrote {count} pages. Open {to / 'index.html'}")
