"""Verbs that judge: score, power, leaderboard, figure, report, regression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchmark.cli.options import folder_option, json_option, results_option, soon_over

all_option = click.option("--all", "every", is_flag=True, help="Every row, however many.")


@click.command()
@results_option
@all_option
@json_option
@soon_over
def score(**given: Any) -> None:
    """Decide every published claim from the records. Exit code 1 if any deviates, 2 if nothing is measured.

    Claims of which nothing is measured are counted by paper; --all lists them, as --json does.

    \b
    Examples:
      lotterybench score
      lotterybench score --results /tmp/mine --json
    """
    from benchmark.cli import score as judging

    judging.score(**given)


@click.command()
@results_option
@all_option
@json_option
@soon_over
def power(**given: Any) -> None:
    """How many more seeds each open claim needs, and what they cost here, cheapest first.

    Seeds that should decide with 80 % power if means stay as they are. `plan` and `run` take the same order.

    \b
    Examples:
      lotterybench power
      lotterybench power --json
    """
    from benchmark.cli import score as judging

    judging.power(**given)


@click.command()
@results_option
@click.option("--to", type=click.Path(path_type=Path), help="File to write. [default: leaderboard.md]")
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 if the file is not what the records say.")
@click.option(
    "--with",
    "others",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="A further results folder to read, e.g. of a plugin that is not public. Without --to, what it holds is "
    "ranked on the terminal and no file is written.",
)
@soon_over
def leaderboard(**given: Any) -> None:
    """Regenerate leaderboard.md from the records.

    \b
    Examples:
      lotterybench leaderboard
      lotterybench leaderboard --check
      lotterybench leaderboard --with /tmp/mine
      lotterybench leaderboard --with /tmp/mine --to /tmp/mine.md
    """
    from benchmark.cli import score as judging

    judging.leaderboard(**given)


@click.command()
@click.argument("protocol")
@results_option
@click.option("--to", type=click.Path(path_type=Path), required=True, help="A .png or .svg file.")
def figure(**given: Any) -> None:
    """Draw a protocol's measured curves over the published ones.

    \b
    Examples:
      lotterybench figure mnist1d/mlp --to mnist1d.png
      lotterybench figure lth/lenet-mnist --to lenet.png
    """
    from benchmark.cli import score as judging

    judging.figure(**given)


@click.command()
@results_option
@click.option("--to", type=click.Path(path_type=Path), default=Path("report"), show_default=True, help="Folder.")
def report(**given: Any) -> None:
    """Write the HTML report: charts, claims and provenance as pages that open without a network.

    \b
    Examples:
      lotterybench report
      lotterybench report --results /tmp/mine --to /tmp/my-report
    """
    from benchmark.cli import score as judging

    judging.report(**given)


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
def regression(**given: Any) -> None:
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
    from benchmark.cli import regression

    regression.regression(**given)
