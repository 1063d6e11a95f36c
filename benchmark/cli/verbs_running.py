"""Verbs that train: run, worker, speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchmark.cli.options import (
    WHERE,
    Counts,
    Duration,
    device_option,
    json_option,
    only_argument,
    plugin_option,
    results_option,
    retry_option,
    set_option,
    where_options,
)


@click.command()
@only_argument
@results_option
@click.option("--budget", type=Duration(), help="Stop in time, at a safe point: 90s, 25m, 2h. Default: no limit.")
@plugin_option
@set_option
@retry_option
@where_options
@click.option(
    "--recheck",
    type=click.Path(path_type=Path, file_okay=False),
    help="With time left, measure finished cells again into this folder and compare.",
)
@device_option
@click.option("--dry-steps", type=click.IntRange(1), help="Only try: a few updates on little data, nothing recorded.")
def run(**given: Any) -> None:
    """Measure what is missing, most wanted first; whatever was finished is kept.

    \b
    Examples:
      lotterybench run --budget 25m
      lotterybench run 'lth/*' --budget 2h --workers 2
      lotterybench run mnist1d/mlp:imp --results /tmp/mine
      lotterybench run 'lth/*' --executor slurm --profile cluster.yaml
      lotterybench run --shard 3/8
      lotterybench run --budget 2h --for lth
      lotterybench run --budget 10m --recheck recheck
      lotterybench run mnist1d/mlp --plugin my_method.py --set alpha=0.5
      lotterybench run 'grasp/*' --dry-steps 2
    """
    from benchmark.cli import run as running
    from benchmark.cli.run import Where

    where = Where.read(**{name: given.pop(name) for name in WHERE})
    running.run(**given, where=where)


@click.command(hidden=True)
@only_argument
@results_option
@click.option("--deadline", type=float, default=None)
@click.option("--seconds", type=float, default=None)
@click.option("--like", type=click.Path(path_type=Path), default=None)
@plugin_option
@retry_option
@device_option
@click.option("--shard", default=None)
@click.option("--hands", type=int, default=1)
@click.option("--for", "purpose", default=None)
def worker(**given: Any) -> None:
    """One worker process of `run`; prints one JSON object per line."""
    from benchmark.cli import run as working

    working.worker(**given)


@click.command()
@click.argument("protocol", default="lth/lenet-mnist")
@click.option("--replicas", type=Counts(), help="Replicas side by side. Default: 1, 2, 4, ... to twice the cores.")
@click.option("--part", "parts", multiple=True, type=click.Choice(["train", "prune", "verbs", "many", "synflow"]),
              help="What to measure; default: all but many, 20,000 records, and synflow: minutes.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(0.05), default=2.0, show_default=True, help="A loop's turn.")
@click.option("--turns", type=click.IntRange(1), default=5, show_default=True, help="Turns of every loop.")
@device_option
@click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="Append the figures to this .jsonl file.")
@json_option
def speed(**given: Any) -> None:
    """How fast networks train and prune here, next to plain PyTorch loops and to what the device can do.

    Everything runs on random data, in turns, so that all loops meet the same machine; a busy machine still blurs
    figures, and ratios less than figures. Nothing is recorded but by --to.

    \b
    Examples:
      lotterybench speed
      lotterybench speed lth/lenet-mnist --replicas 1,2 --part train --to speed.jsonl
      lotterybench speed --part verbs --part many
      lotterybench speed --part synflow
      lotterybench speed --device cuda --replicas 1,8,64 --json
    """
    from benchmark.cli import speed

    speed.speed(**given)
