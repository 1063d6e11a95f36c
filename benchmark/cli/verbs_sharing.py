"""Verbs that share results: submit, verify, push, pull."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchmark.cli.options import folder_option, json_option, only_argument, results_option, set_option
from benchmark.utils.files import DEFAULT_RESULTS


@click.command()
@click.argument("plugin", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE")
@only_argument
@results_option
@set_option
@click.option(
    "--to", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write, *.lotterybench.zip."
)
def submit(**given: Any) -> None:
    """Bundle a pruner with its results: source, records, curves, masks, environment, digests of everything.

    Takes every protocol under which the results folder holds the method, or those named. Every mask is made again
    and must be that of its record; then the bundle is checked as `lotterybench verify` checks it first.

    \b
    Examples:
      lotterybench submit my_method.py --results mine --to my_method.lotterybench.zip
      lotterybench submit my_method.py mnist1d/mlp --set alpha=0.5 --results mine --to half.lotterybench.zip
    """
    from benchmark.cli import share as bundles

    bundles.submit(**given)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, dir_okay=False), metavar="BUNDLE")
@click.option("--sample", type=click.IntRange(1), default=3, show_default=True, help="Masks, and cells, to make again.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Another sample of the same bundle.")
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    help="If all is well, take the method over into this results folder, where the board says who verified it.",
)
@click.option("--by", help="Who verifies.  [default: your user name]")
@click.option(
    "--protocol",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A protocol file of your own that the bundle was measured under.",
)
@json_option
def verify(**given: Any) -> None:
    """Check a bundle, then make masks and train cells again, the plugin confined as in every run.

    Exit code 1 with every reason if the bundle contradicts itself, the protocol, or what is measured here.

    \b
    Examples:
      lotterybench verify my_method.lotterybench.zip
      lotterybench verify my_method.lotterybench.zip --sample 5 --results results --by 'Ada Lovelace'
    """
    from benchmark.cli import share as bundles

    bundles.verify(**given)


@click.command()
@click.argument("repository")
@only_argument
@results_option
@click.option("--private", is_flag=True, help="If the repository has to be made, make it private.")
def push(**given: Any) -> None:
    """Put records, masks and curves into a dataset repository of the Hugging Face Hub.

    Every file is checked before the first is sent. What is there already is skipped; what differs there is never
    replaced (exit code 1). Interrupted or outrun by another writer, the same command goes on.

    \b
    Examples:
      lotterybench push me/my-records
      lotterybench push me/my-records 'lth/*' --results /tmp/mine
      HF_TOKEN=hf_... lotterybench push me/my-records mnist1d/mlp:imp --private
    """
    from benchmark.cli import share as hub

    hub.push(**given)


@click.command()
@click.argument("repository")
@only_argument
@click.option("--revision", default="main", show_default=True, help="A commit, or a branch or tag to look up.")
@folder_option("--to", DEFAULT_RESULTS, "Results folder to fill.")
def pull(**given: Any) -> None:
    """Take records, masks and curves from a dataset repository of the Hugging Face Hub.

    Everything is downloaded and checked before the first file is moved in. What is here already is kept; if it
    differs, nothing is taken over (exit code 1). The commit is printed and noted in pulled.json.
    With HF_HUB_OFFLINE=1, what was pulled before comes from the client's cache.

    \b
    Examples:
      lotterybench pull them/their-records --revision 4a5c7c1fa8b1d9b0e8c2b1d6c9a6a3f0b7e2d581
      lotterybench pull them/their-records 'lth/*' --to /tmp/theirs
    """
    from benchmark.cli import share as hub

    hub.pull(**given)
