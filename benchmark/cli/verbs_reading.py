"""Verbs that only read: list, info, plan, status."""

from __future__ import annotations

from typing import Any

import click

from benchmark.cli.options import (
    WATCH_SECONDS,
    Duration,
    device_option,
    json_option,
    only_argument,
    plugin_option,
    purpose_option,
    results_option,
    retry_option,
    set_option,
    shard_option,
    soon_over,
    workers_option,
)


@click.command("list")
@json_option
@soon_over
def list_(**given: Any) -> None:
    """What there is: protocols, their methods, pruners, papers with published results.

    \b
    Examples:
      lotterybench list
      lotterybench list --json
    """
    from benchmark.cli import show as reading

    reading.list_(**given)


@click.command()
@click.argument("name", required=False)
@click.option("--table", help="Of a paper: one table of its results.")
@click.option("--rows", type=click.IntRange(0), default=40, show_default=True, help="Lines of a table; 0 for all.")
@json_option
@soon_over
def info(**given: Any) -> None:
    """One protocol, field by field with sources; or the published record of a paper.

    \b
    Examples:
      lotterybench info lth/lenet-mnist
      lotterybench info grasp
      lotterybench info grasp --table table-2
      lotterybench info mnist1d/mlp --json
    """
    from benchmark.cli import show as reading

    reading.info(**given)


@click.command("plan")
@only_argument
@results_option
@click.option("--budget", type=Duration(), help="Show what fits this time, e.g. 25m or 2h.")
@click.option("--order", "first", type=click.IntRange(1), help="Show the first so many jobs, as `run` takes them.")
@purpose_option
@shard_option
@workers_option
@retry_option
@plugin_option
@set_option
@device_option
@json_option
@soon_over
def plan_(**given: Any) -> None:
    """What is left to measure, how long it should take here, what is skipped and why.

    \b
    Examples:
      lotterybench plan
      lotterybench plan 'lth/*' --budget 2h --workers 2
      lotterybench plan --for lth --order 20
      lotterybench plan lth/lenet-mnist:imp --json
      lotterybench plan --device cuda --workers 8
      lotterybench plan mnist1d/mlp --plugin my_method.py --set alpha=0.5
    """
    from benchmark.cli import plan as planning

    planning.plan_(**given)


@click.command()
@only_argument
@results_option
@click.option("--watch", is_flag=True, help=f"Show it again every {WATCH_SECONDS:.0f} s, until Ctrl-C.")
@device_option
@json_option
@soon_over
def status(**given: Any) -> None:
    """What is done, running, failed and missing, what each open verdict still costs, and where the logs are.

    \b
    Examples:
      lotterybench status
      lotterybench status --watch
      lotterybench status --device cuda
      lotterybench status 'mnist1d/*' --json
    """
    from benchmark.cli import status as standing

    standing.status(**given)
