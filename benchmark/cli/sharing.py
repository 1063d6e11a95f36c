"""Verbs that share results: submit, verify, push, pull."""

from __future__ import annotations

import getpass
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import SystemRandom
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from benchmark.cli.options import folder_option, json_option, only_argument, results_option, set_option
from benchmark.utils.errors import EXIT_DEVIATION, BadInput, Conflict, EnvironmentProblem, plain
from benchmark.utils.files import DEFAULT_RESULTS, write_atomically

if TYPE_CHECKING:
    from benchmark.protocols import Protocol
    from benchmark.records.store import Store
    from benchmark.records.submissions import Submission
    from benchmark.sharing.bundle.format import Bundle
    from benchmark.sharing.bundle.rerun import Rerun
    from benchmark.sharing.bundle.verify import Checks


@click.command()
@click.argument("plugin", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE")
@only_argument
@results_option
@set_option
@click.option(
    "--to", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write, *.lotterybench.zip."
)
def submit(plugin: Path, only: Sequence[str], results: Path, settings: tuple[str, ...], to: Path) -> None:
    """Bundle a pruner with its results: source, records, curves, masks, environment, digests of everything.

    Takes every protocol under which the results folder holds the method, or those named. Every mask is made again
    and must be that of its record; then the bundle is checked as `lotterybench verify` checks it first.

    \b
    Examples:
      lotterybench submit my_method.py --results mine --to my_method.lotterybench.zip
      lotterybench submit my_method.py mnist1d/mlp --set alpha=0.5 --results mine --to half.lotterybench.zip
    """
    from benchmark.cli.selection import settings_of
    from benchmark.cli.terminal import step_progress
    from benchmark.planning.select import existing_results, protocols_in, selection_of
    from benchmark.plugins.describe import described
    from benchmark.plugins.registry import plugin_files
    from benchmark.records import submissions
    from benchmark.sharing.bundle.build import Part, build
    from benchmark.sharing.bundle.format import read_bundle
    from benchmark.sharing.bundle.verify import check

    store, files = existing_results(results), plugin_files([plugin])
    facts = described(plugin, settings_of(settings, files))
    name = submissions.method_name(facts.name, facts.parameters)
    chosen = protocols_in(selection_of(only, partial(submissions.with_submissions, store)))
    found = [(p, s) for p in chosen if (s := submissions.read(store, p, name)) is not None]
    _refuse_unmeasured(name, facts.digest, found, store)
    for protocol, _ in found:
        _obtain(protocol)
    with step_progress() as say:
        content = build([Part(*pair) for pair in found], plugin, store, say)
    with TemporaryDirectory() as folder:
        made = Path(folder) / "bundle.zip"
        made.write_bytes(content)
        bundle = read_bundle(made)
        if reasons := check(bundle, Path(folder) / "checked", [p for p, _ in found]).reasons:
            raise Conflict(name, f"its results contradict themselves: {'; '.join(reasons)}", "Measure it again")
    _write(to, content)
    click.echo(f"Wrote {to}: {len(bundle.files) + 1} files, {len(content):,} bytes, sha256 {bundle.digest}")
    for claim in bundle.manifest.claims:
        click.echo(
            f"{claim.protocol.id}@{claim.protocol.version} {claim.name}: {claim.cells} cells, {claim.failed} failed"
        )
    click.echo("Its files, digests, records and masks agree with each other and with the protocol.")


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, dir_okay=False), metavar="BUNDLE")
@click.option("--sample", type=click.IntRange(1), default=3, show_default=True, help="Masks, and cells, to make again.")
@click.option("--seed", type=click.IntRange(0), help="Draw an earlier verification's sample.  [default: drawn now]")
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    help="If all is well, take the method over into this results folder, where the board says who verified it.",
)
@click.option(
    "--fresh-seeds",
    type=click.IntRange(0),
    default=2,
    show_default=True,
    help="Train the method at so many seeds drawn here, which its author cannot have seen.",
)
@click.option("--by", help="Who verifies.  [default: your user name]")
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Sign the mark with this ssh-ed25519 key, by ssh-keygen. Without it the mark says that it is unsigned.",
)
@click.option(
    "--protocol",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A protocol file of your own that the bundle was measured under.",
)
@json_option
def verify(  # noqa: PLR0913, PLR0917 - one for each option
    bundle: Path,
    sample: int,
    seed: int | None,
    results: Path | None,
    fresh_seeds: int,
    by: str | None,
    key: Path | None,
    files: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Check a bundle, then make masks and train cells again, the plugin confined as in every run; last, train it at
    seeds drawn here.

    What it says of its own machine decides nothing. Cells that are not the same bit for bit are compared as two
    samples, and the last line says what these can and cannot exclude. Exit code 1 with every reason if the bundle
    contradicts itself, the protocol, or what is measured here.

    \b
    Examples:
      lotterybench verify my_method.lotterybench.zip
      lotterybench verify my_method.lotterybench.zip --results results --by 'Ada Lovelace' --key ~/.ssh/id_ed25519
    """
    from benchmark import protocols
    from benchmark.records.store import Store
    from benchmark.sharing.bundle.format import read_bundle
    from benchmark.sharing.bundle.verify import check

    if not bundle.is_file():
        raise BadInput(str(bundle), "there is no such file", "Give the path of a bundle")
    if results is not None and not fresh_seeds:
        raise BadInput("--fresh-seeds 0", "no row is verified without seeds that its author cannot have seen", "Give 1")
    # A known number would let an author try bundles until the sample misses the forged cells.
    sampling = Sampling(sample, SystemRandom().getrandbits(32) if seed is None else seed, fresh_seeds)
    read = read_bundle(bundle)
    own = [protocols.load_file(path) for path in files]
    with TemporaryDirectory() as folder:
        checks = check(read, Path(folder) / "claimed", [*own, *protocols.load_all()])
        measured = [] if checks.reasons else _measured(checks, Path(folder), sampling, results, as_json)
        reasons = [*checks.reasons, *(reason for found in measured for reason in found.reasons)]
        _show_verification(read, measured, reasons, sampling, as_json)
        if reasons:
            raise click.exceptions.Exit(EXIT_DEVIATION)
        if results is not None:
            _take_over(checks, measured, Store(results), Verifier(by or getpass.getuser(), key), as_json)


@dataclass(frozen=True)
class Sampling:
    """What the verifier chose to measure again."""

    sample: int
    seed: int
    fresh_seeds: int


@dataclass(frozen=True)
class Verifier:
    """Who signs, and with which key; None leaves a mark unsigned."""

    name: str
    key: Path | None


def _write(to: Path, content: bytes) -> None:
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=to.parent, prefix=".") as work:
            write_atomically(to, content, Path(work))
    except OSError as error:
        raise EnvironmentProblem(str(to), f"cannot be written ({error.strerror})", "Give another --to") from error


def _refuse_unmeasured(name: str, digest: str, found: Sequence[tuple[Protocol, Submission]], store: Store) -> None:
    if not found:
        raise BadInput(
            f"method '{name}'", f"{store.root} holds no results of it under these protocols",
            "Measure it with `lotterybench run PROTOCOL --plugin ...`, or correct --results and --set",
        )  # fmt: skip
    for protocol, submission in found:
        if submission.plugin_digest != digest:
            raise BadInput(
                f"plugin '{submission.method.pruner}'",
                f"its code changed after its records under {protocol.key} were made",
                "Undo the edit, or rename the file and measure again",
            )


def _obtain(protocol: Protocol) -> None:
    from benchmark.datasets.source import obtain_data

    if problem := obtain_data(protocol.data.name):
        raise EnvironmentProblem(protocol.key, str(problem), "Its masks and networks cannot be made without its data")


def _measured(checks: Checks, folder: Path, sampling: Sampling, results: Path | None, as_json: bool) -> list[Rerun]:
    from benchmark.cli.terminal import step_progress
    from benchmark.plugins.sandbox.confinement import describe
    from benchmark.records.store import Store
    from benchmark.sharing.bundle.rerun import measure_again
    from benchmark.sharing.bundle.verify import refuse_differing

    for claimed in checks.claims:
        _obtain(claimed.protocol)
        if results is not None:  # before hours of training, not after
            refuse_differing(claimed, Store(results))
    if not as_json:
        click.echo("Files, digests, records and masks agree with each other and with the protocol.")
        click.echo(describe().sentence())
    key = (checks.bundle.digest, sampling.seed)
    with step_progress(quiet=as_json) as say:
        return [
            measure_again(claimed, folder / f"again-{number}", sampling.sample, key, say, sampling.fresh_seeds)
            for number, claimed in enumerate(checks.claims)
        ]


def _show_verification(
    bundle: Bundle, measured: Sequence[Rerun], reasons: Sequence[str], sampling: Sampling, as_json: bool
) -> None:
    if as_json:
        document: dict[str, Any] = {
            "bundle": bundle.digest,
            "verified": not reasons,
            "seed": sampling.seed,
            "masks": sum(found.masks for found in measured),
            "cells": sum(found.cells for found in measured),
            "identical": sum(found.identical for found in measured),
            "fresh_cells": sum(found.fresh_cells for found in measured),
            "excludes": [found.excludes for found in measured],
            "reasons": list(reasons),
        }
        click.echo(json.dumps(document, indent=1))
        return
    for claim, found in zip(bundle.manifest.claims, measured, strict=False):
        click.echo(
            f"{plain(claim.protocol.id)}@{claim.protocol.version} {claim.name}: {found.masks} masks made again; "
            f"{found.cells} cells trained again, {found.identical} identical bit for bit. "
            f"The same sample: --seed {sampling.seed}."
        )
        if found.shares:
            click.echo(
                f"Of masks at the sparsest level, {min(found.shares.values()):.1%} or more stays if weights are nudged."
            )
        if not found.reasons:
            click.echo(found.excludes)
    for reason in reasons:
        click.echo(f"REFUSED {plain(reason)}")  # it may quote the bundle
    click.echo(f"Not verified: {len(reasons)} reasons." if reasons else "Verified.")


def _take_over(checks: Checks, measured: Sequence[Rerun], store: Store, verifier: Verifier, as_json: bool) -> None:
    from benchmark.sharing.bundle.verify import mark, missing_dense, take_over

    for claimed, found in zip(checks.claims, measured, strict=True):
        made = mark(claimed, verifier.name, found, verifier.key)
        count = take_over(claimed, store, made)
        if as_json:
            continue
        if made.signature is None:
            click.echo("The mark is unsigned: whoever can write to the folder could have written it. To sign it: --key")
        if seeds := missing_dense(claimed, store):
            command = f"lotterybench run {claimed.protocol.argument}:dense --results {store.root}"
            click.echo(f"{len(seeds)} dense networks are not taken over, but measured here: {command}")
        click.echo(f"{count} files taken over into {store.folder(claimed.protocol, claimed.submission.name)}")


@click.command()
@click.argument("repository")
@only_argument
@results_option
@click.option("--private", is_flag=True, help="If the repository has to be made, make it private.")
def push(repository: str, only: Sequence[str], results: Path, private: bool) -> None:
    """Put records, masks and curves into a dataset repository of the Hugging Face Hub.

    Every file is checked before the first is sent. What is there already is skipped; what differs there is never
    replaced (exit code 1). Interrupted or outrun by another writer, the same command goes on.

    \b
    Examples:
      lotterybench push me/my-records
      lotterybench push me/my-records 'lth/*' --results /tmp/mine
      HF_TOKEN=hf_... lotterybench push me/my-records mnist1d/mlp:imp --private
    """
    from benchmark.cli.terminal import step_progress
    from benchmark.planning.select import selection_of
    from benchmark.records.store import Store
    from benchmark.records.submissions import with_submissions
    from benchmark.sharing.hub.push import push as push_to
    from benchmark.sharing.hub.remote import Remote

    store = Store(results)
    selection = selection_of(only, partial(with_submissions, store))
    with step_progress() as say:
        done = push_to(store, selection, Remote(repository), private, say)
    click.echo(f"{done.sent:,} files sent in {done.commits} commits, {done.there:,} were there already.")
    click.echo(f"{repository} is at commit {done.commit}")


@click.command()
@click.argument("repository")
@only_argument
@click.option("--revision", default="main", show_default=True, help="A commit, or a branch or tag to look up.")
@folder_option("--to", DEFAULT_RESULTS, "Results folder to fill.")
def pull(repository: str, only: Sequence[str], revision: str, to: Path) -> None:
    """Take records, masks and curves from a dataset repository of the Hugging Face Hub.

    Everything is downloaded and checked before the first file is moved in. What is here already is kept; if it
    differs, nothing is taken over (exit code 1). The commit is printed and noted in pulled.json.
    With HF_HUB_OFFLINE=1, what was pulled before comes from the client's cache.

    \b
    Examples:
      lotterybench pull them/their-records --revision 4a5c7c1fa8b1d9b0e8c2b1d6c9a6a3f0b7e2d581
      lotterybench pull them/their-records 'lth/*' --to /tmp/theirs
    """
    from benchmark.cli.terminal import step_progress
    from benchmark.planning.select import selection_of
    from benchmark.records.store import Store
    from benchmark.sharing.hub.pull import pull as pull_from
    from benchmark.sharing.hub.remote import SHA, Remote

    with step_progress() as say:
        done = pull_from(Store(to), partial(selection_of, only), Remote(repository), revision, say)
    if done.others:
        first = ", ".join(repr(path[:60]) for path in done.others[:3])
        click.echo(f"{len(done.others):,} other files left alone: {first}{', ...' if len(done.others) > 3 else ''}")
    click.echo(f"{done.new:,} files taken over into {to}, {done.here:,} were here already.")
    moved = "" if SHA.fullmatch(revision) else f" ('{revision}' moves; to get the same again: --revision {done.commit})"
    click.echo(f"{repository} at commit {done.commit}{moved}")
