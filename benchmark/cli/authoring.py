"""Verbs for authors of pruners: check, new-pruner."""

from __future__ import annotations

import json
from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError

from benchmark.cli.plugin_args import settings_of
from benchmark.cli.tables import show_table
from benchmark.plugins.child import ask
from benchmark.plugins.conformance.checks import Report
from benchmark.plugins.registry import plugin_files
from benchmark.plugins.scaffold import Kind, write_pruner
from benchmark.utils.errors import EXIT_DEVIATION, BadPruner, plain

SECONDS_TO_CHECK = 600.0  # a baseline takes ten to thirty


def check(plugin: Path, settings: tuple[str, ...], as_json: bool) -> None:
    """Try a pruner on tiny networks of every family. Exit code 1 if it breaks a rule; notes fail nothing."""
    files = plugin_files([plugin])
    given = settings_of(settings, files)
    name = next(iter(files))
    answer = ask("benchmark.plugins.conformance", plugin, given, SECONDS_TO_CHECK)
    try:
        report = TypeAdapter(Report).validate_python(answer)
    except ValidationError as error:  # only its own process says it, and the plugin runs in there
        raise BadPruner(f"plugin {plugin}", "wrote a report of its own that is none", "Correct the file") from error
    if as_json:
        click.echo(json.dumps({"pruner": name, "passed": not report.failures, **answer}, indent=1))
    else:
        _show(name, report)
    if report.failures:
        raise click.exceptions.Exit(EXIT_DEVIATION)


def _show(name: str, report: Report) -> None:
    rows = []
    for check in report.checks:
        own = [finding for finding in report.findings if finding.check == check]
        rows.append([check, "FAILED" if any(f.failed for f in own) else "note" if own else "ok"])
    show_table(f"Checks of {name} on {', '.join(report.networks)}", ["check", "result"], rows)
    for finding in report.findings:
        click.echo(f"\n{plain(str(finding), keep=chr(10))}")
    failed = len({finding.check for finding in report.failures})
    verdict = f"{failed} of {len(report.checks)} checks failed" if failed else f"All {len(report.checks)} checks passed"
    click.echo(f"\n{verdict}, in {report.seconds:.0f} s.")


def new_pruner(name: str, to: Path, kind: Kind) -> None:
    """Write a folder with a commented, working pruner, an installable package around it, and its tests."""
    written = write_pruner(name, to, kind)
    for path in written:
        click.echo(f"Wrote {path}")
    click.echo(
        f"""
Next:
  lotterybench check {written[0]}
  lotterybench run mnist1d/mlp --plugin {written[0]} --results {to / "mine"}
  lotterybench leaderboard --with {to / "mine"}"""
    )
