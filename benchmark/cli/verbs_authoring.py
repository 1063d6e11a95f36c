"""Verbs for authors of pruners: check, new-pruner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchmark.cli.options import json_option, set_option


@click.command()
@click.argument("plugin", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE")
@set_option
@json_option
def check(**given: Any) -> None:
    """Try a pruner on tiny networks of every family. Exit code 1 if it breaks a rule; notes fail nothing.

    \b
    Examples:
      lotterybench check my_method.py
      lotterybench check my_method.py --set alpha=0.5 --json
    """
    from benchmark.cli import authoring

    authoring.check(**given)


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
    type=click.Choice(["score", "mask"]),
    default="score",
    show_default=True,
    help="score: a number for every weight; mask: the mask itself.",
)
def new_pruner(**given: Any) -> None:
    """Write a folder with a commented, working pruner, an installable package around it, and its tests.

    \b
    Examples:
      lotterybench new-pruner my_method
      lotterybench new-pruner my_learner --kind mask --to /tmp
    """
    from benchmark.cli import authoring

    authoring.new_pruner(**given)
