"""Verbs that judge: score, power, leaderboard, figure, report."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import click

from benchmark import protocols
from benchmark.cli.tables import show_table
from benchmark.planning.select import existing_results
from benchmark.records.store import Store
from benchmark.utils.errors import EXIT_DEVIATION, EXIT_USAGE, BadInput
from benchmark.utils.files import spoken

SHOWN_NEEDS = 20


def score(results: Path, every: bool, as_json: bool) -> None:
    """Decide every published claim from the records. Exit code 1 if any deviates, 2 if nothing is measured."""
    from benchmark.claims import verdicts

    decisions = verdicts.decide(existing_results(results), protocols.load_all())
    if as_json:
        click.echo(json.dumps(verdicts.to_json(decisions), indent=1))
    else:
        shown = [d for d in decisions if every or any(check.is_known for check in d.checks)]
        rows = [[d.claim, d.statement, d.published, d.measured, d.spoken_verdict] for d in shown]
        show_table("Verdicts", ["claim", "statement", "published", "measured", "verdict"], rows)
        left = Counter(d.paper for d in decisions) - Counter(d.paper for d in shown)
        if left:
            words = ", ".join(f"{count} of {paper}" for paper, count in left.items())
            click.echo(f"Nothing is measured of {left.total()} more claims: {words}. To list them: --all")
    found = {decision.verdict for decision in decisions}
    if found <= {"not measured"}:
        raise click.exceptions.Exit(EXIT_USAGE)
    if "deviates" in found:
        raise click.exceptions.Exit(EXIT_DEVIATION)


def power(results: Path, every: bool, as_json: bool) -> None:
    """How many more seeds each open claim needs, and what they cost here, cheapest first."""
    from benchmark.planning.power import claim_needs, to_json

    needs = claim_needs(existing_results(results), protocols.load_all())
    if as_json:
        click.echo(json.dumps(to_json(needs), indent=1))
        return
    rows = [
        [n.claim, n.statement, n.verdict, n.words, spoken(n.core_seconds) if n.core_seconds is not None else "-"]
        for n in (needs if every else needs[:SHOWN_NEEDS])
    ]
    show_table("Power", ["claim", "statement", "verdict", "needs", "core time here"], rows)
    if len(needs) > len(rows):
        click.echo(f"{len(needs) - len(rows)} more claims need more than these, or seeds cannot decide them: --all")


def leaderboard(results: Path, to: Path | None, check: bool, others: tuple[Path, ...]) -> None:
    """Regenerate leaderboard.md from the records."""
    from benchmark.report import leaderboard as board

    known, store, extra = protocols.load_all(), existing_results(results), [Store(other) for other in others]
    for other in others:
        if not other.is_dir():
            raise BadInput(f"--with {other}", "there is no such folder", "Give the --results folder of a run")
    if extra and to is None:
        if check:
            raise BadInput("--check --with", "it is not said which file to check", "Give --to")
        click.echo(board.render_touched(store, known, extra))
        return
    path = to or Path("leaderboard.md")
    if not check:
        board.write(store, known, path, extra)
        click.echo(f"Wrote {path}")
        return
    if not path.exists() or path.read_text(encoding="utf-8") != board.render(store, known, extra):
        click.echo(f"{path} is not what the records in {results} say. Regenerate it: lotterybench leaderboard")
        raise click.exceptions.Exit(EXIT_DEVIATION)
    click.echo(f"{path} is what the records say.")


def figure(protocol: str, results: Path, to: Path) -> None:
    """Draw a protocol's measured curves over the published ones."""
    from benchmark.report.figure import draw

    draw(existing_results(results), protocols.load(protocol), to)
    click.echo(f"Wrote {to}")


def report(results: Path, to: Path) -> None:
    """Write the HTML report: charts, claims and provenance as pages that open without a network."""
    from benchmark.report.html.site import build

    count = build(existing_results(results), protocols.load_all(), to)
    click.echo(f"Wrote {count} pages. Open {to / 'index.html'}")
