"""Verbs for authors of pruners: check, new-pruner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.cli.options import json_option, set_option
from benchmark.utils.errors import EXIT_DEVIATION, BadPruner, plain

if TYPE_CHECKING:
    from benchmark.plugins.conformance.checks import Report
    from benchmark.plugins.scaffold import Kind

SECONDS_TO_CHECK = 600.0  # a baseline takes ten to thirty


@click.command()
@click.argument("plugin", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE")
@set_option
@json_option
def check(plugin: Path, settings: tuple[str, ...], as_json: bool) -> None:
    """Try a pruner on tiny networks of every family, a hook or learner on short trainings.

    Exit code 1 if it breaks a rule; notes fail nothing.

    \b
    Examples:
      lotterybench check my_method.py
      lotterybench check my_method.py --set alpha=0.5 --json
    """
    from pydantic import TypeAdapter, ValidationError

    from benchmark.cli.selection import settings_of
    from benchmark.plugins.child import ask
    from benchmark.plugins.conformance.checks import Report
    from benchmark.plugins.describe import refuse_name
    from benchmark.plugins.registry import plugin_files
    from benchmark.plugins.sandbox.confinement import describe

    files = plugin_files([plugin])
    refuse_name(plugin)
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
        _show_checks(name, report)
        click.echo(describe().sentence())
    if report.failures:
        raise click.exceptions.Exit(EXIT_DEVIATION)


def _show_checks(name: str, report: Report) -> None:
    from benchmark.cli.terminal import show_table

    rows = []
    for check in report.checks:
        own = [finding for finding in report.findings if finding.check == check]
        quiet = "not run" if check in report.not_run else "ok"
        rows.append([check, "FAILED" if any(f.failed for f in own) else "note" if own else quiet])
    show_table(f"Checks of {name} on {', '.join(report.networks)}", ["check", "result"], rows)
    for finding in report.findings:
        click.echo(f"\n{plain(str(finding), keep=chr(10))}")
    failed = len({finding.check for finding in report.failures})
    rest = f", {len(report.not_run)} not run for that" if report.not_run else ""
    all_passed = f"All {len(report.checks)} checks passed"
    verdict = f"{failed} of {len(report.checks)} checks failed{rest}" if failed else all_passed
    click.echo(f"\n{verdict}, in {report.seconds:.0f} s.")


@click.command("new-pruner")
@click.argument("name")
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    show_default="here",
    help="Folder to put the new one into.",
)
@click.option(
    "--kind",
    type=click.Choice(["score", "mask", "hook", "learner"]),
    default="score",
    show_default=True,
    help="score: a number for every weight; mask: the mask itself; hook: acts on a training; learner: trains scores.",
)
def new_pruner(name: str, to: Path, kind: Kind) -> None:
    """Write a folder with a commented, working plugin, an installable package around it, and its tests.

    \b
    Examples:
      lotterybench new-pruner my_method
      lotterybench new-pruner my_mask --kind mask --to /tmp
      lotterybench new-pruner my_hook --kind hook
    """
    from benchmark.plugins.scaffold import write_pruner

    paths = write_pruner(name, to, kind)
    for path in paths:
        click.echo(f"Wrote {path}")
    if kind in ("hook", "learner"):
        click.echo(f"\nNext:\n  lotterybench check {paths[0]}\n  lotterybench run MY_PROTOCOL.yaml --plugin {paths[0]}")
        click.echo("MY_PROTOCOL.yaml names it: see docs/authors.md, 'A hook or a learner'.")
        return
    click.echo(
        f"""
Next:
  lotterybench check {paths[0]}
  lotterybench run mnist1d/mlp --plugin {paths[0]} --results {to / "mine"}
  lotterybench leaderboard --with {to / "mine"}"""
    )
