"""Verbs that only read: list, info, plan, status."""

from __future__ import annotations

import gc
import json
import time
from functools import partial
from pathlib import Path

import click

from benchmark.cli.options import (
    Device,
    Duration,
    all_option,
    buy_option,
    device_option,
    json_option,
    narrowing_options,
    only_argument,
    plugin_option,
    protocol_names,
    refuse_both,
    results_option,
    retry_option,
    set_option,
    shard_option,
    wanted_option,
    without_gc,
    workers_option,
)
from benchmark.utils.errors import BadInput

WATCH_SECONDS = 5.0
FEW = 3  # methods that a row of `list` names; `info` names all


@click.command("list")
@all_option
@json_option
@without_gc
def list_(every: bool, as_json: bool) -> None:
    """What there is: a line for each protocol; with --all their methods, pruners, papers with published results.

    \b
    Examples:
      lotterybench list
      lotterybench list --all
      lotterybench list --json
    """
    from benchmark.cli.papers import paper_counts, show_known, show_paper_counts
    from benchmark.cli.terminal import show_sentence, show_table
    from benchmark.plugins.registry import names as pruner_names
    from benchmark.protocols import load_all
    from benchmark.protocols.cells import method_names

    pruners = pruner_names()
    known = load_all()
    if as_json:
        document = {
            "protocols": [
                {"id": p.id, "version": p.version, "title": p.title, "methods": method_names(p), "seeds": list(p.seeds)}
                for p in known
            ],
            "pruners": pruners,
            "papers": paper_counts(),
        }
        click.echo(json.dumps(document, indent=1))
        return
    if not every:
        show_known(known, pruners)
        return
    rows = [[p.key, p.title, _named(method_names(p))] for p in known]
    show_table("Protocols", ["protocol", "what it is", "methods"], rows, whole=["protocol"])
    show_sentence(f"Pruners: {', '.join(pruners)}")
    click.echo()
    show_paper_counts()


def _named(methods: list[str]) -> str:
    few = methods[:FEW]
    return ", ".join(few) + (f" and {len(methods) - FEW} more" if len(methods) > FEW else "")


@click.command()
@click.argument("name", required=False, shell_complete=protocol_names)
@click.option("--table", help="Of a paper: one table of its results.")
@click.option("--rows", type=click.IntRange(0), default=40, show_default=True, help="Lines of a table; 0 for all.")
@json_option
@click.option("--yaml", "as_yaml", is_flag=True, help="Of a protocol: its whole document, to start a file of your own.")
@without_gc
def info(name: str | None, table: str | None, rows: int, as_json: bool, as_yaml: bool) -> None:
    """One protocol, field by field with sources; or the published record of a paper.

    A file of your own may also say `extends: PROTOCOL` and only what differs, an id of its own to begin with.

    \b
    Examples:
      lotterybench info lth/lenet-mnist
      lotterybench info grasp
      lotterybench info grasp --table table-2
      lotterybench info mnist1d/mlp --json
      lotterybench info mnist1d/mlp --yaml > mine.yaml
    """
    from benchmark.cli.papers import show_names, show_paper, show_protocol
    from benchmark.protocols import load

    if name is None:
        show_names()
        return
    if "/" not in name and not name.endswith((".yaml", ".yml")):
        show_paper(name, table, rows, as_json, as_yaml)
        return
    if table is not None:
        raise BadInput(f"--table {table}", f"'{name}' is a protocol, which has no tables", "Name a paper")
    protocol = load(name)
    if as_json:
        click.echo(json.dumps({**protocol.document, "digest": protocol.digest}, indent=1))
        return
    if as_yaml:
        import yaml

        click.echo(yaml.safe_dump(protocol.document, sort_keys=False, allow_unicode=True, width=120), nl=False)
        return
    show_protocol(protocol)


@click.command("plan")
@only_argument
@results_option
@click.option("--budget", type=Duration(), help="Show what fits this time, e.g. 25m or 2h.")
@all_option
@click.option("--order", "first", type=click.IntRange(1), help="Show the first so many jobs, as `run` takes them.")
@wanted_option
@buy_option
@narrowing_options
@shard_option
@workers_option
@retry_option
@plugin_option
@set_option
@device_option
@json_option
@without_gc
def plan_(  # noqa: PLR0913, PLR0917 - one for each option
    only: tuple[str, ...],
    results: Path,
    budget: float | None,
    every: bool,
    first: int | None,
    wanted: str | None,
    buy: str | None,
    seeds: str | None,
    levels: str | None,
    shard: str | None,
    workers: int,
    retry_failed: bool,
    plugins: tuple[Path, ...],
    settings: tuple[str, ...],
    device: Device,
    as_json: bool,
) -> None:
    """What is left to measure, how long it should take here, what is skipped and why.

    \b
    Examples:
      lotterybench plan
      lotterybench plan 'lth/*' --budget 2h --workers 2
      lotterybench plan --for lth --order 20
      lotterybench plan --buy verdicts --budget 5h
      lotterybench plan lth/lenet-mnist:imp --json
      lotterybench plan --device cuda --workers 8
      lotterybench plan mnist1d/mlp --plugin my_method.py --set alpha=0.5
    """
    from benchmark.cli.outlook import Outlook, nothing_words, say_left_out, show_order, show_plan, show_purchases
    from benchmark.cli.selection import chosen
    from benchmark.cli.terminal import step_progress, unit_of
    from benchmark.planning.narrowed import Narrowed
    from benchmark.planning.plan import Shard
    from benchmark.planning.select import (
        batches_for,
        begun_first,
        planned_for,
        refuse_part_of_results,
        too_long_for,
        verdicts_for,
    )
    from benchmark.records.store import Store
    from benchmark.utils.hardware import gpus

    refuse_part_of_results(results)
    store = Store(results).as_it_is()
    picked = chosen(only, store, plugins, settings)
    if device == "cuda" and gpus():
        workers = min(workers, len(gpus()))
    part = Shard.parse(shard) if shard else None
    selection = begun_first(picked.selection, store)
    bought = None
    if buy:
        refuse_both(wanted, buy)
        with step_progress(quiet=as_json) as say:
            purchased = verdicts_for(selection, store, budget and budget * workers, device, say)
        show_purchases(purchased, unit_of(device), as_json)
        if as_json:
            return
        bought = purchased.wanted
    narrowed = Narrowed.parse(seeds, levels)
    planned = planned_for(
        selection,
        store,
        retry_failed=retry_failed,
        wanted_for=wanted,
        bought=bought,
        device=device,
        shard=part,
        narrowed=narrowed,
    )
    too_long = too_long_for(planned, selection, store, budget)
    selection = [pair for pair in selection if pair[0].key not in too_long]
    planned = [item for item in planned if item.job.protocol.key not in too_long]
    nothing = nothing_words(bought is not None, any((wanted, seeds, levels, shard)))
    outlook = Outlook(planned, batches_for(planned, store, device, workers), workers, budget, device, nothing)
    if first is not None:
        show_order(outlook, first, as_json)
        return
    if not as_json:
        say_left_out(too_long)
    show_plan(selection, outlook, store, as_json, picked.waiting, every)


@click.command()
@only_argument
@results_option
@all_option
@click.option("--watch", is_flag=True, help=f"Show it again every {WATCH_SECONDS:.0f} s, until Ctrl-C.")
@device_option
@json_option
@without_gc
def status(only: tuple[str, ...], results: Path, every: bool, watch: bool, device: Device, as_json: bool) -> None:
    """What is done, running, failed and missing, what each open verdict still costs, and where the logs are.

    One screen of 24 lines: sums, what runs, protocols begun, verdicts that are near. Every method, claim, job and log:
    --all, --json, or one protocol alone.

    \b
    Examples:
      lotterybench status
      lotterybench status --all
      lotterybench status --watch
      lotterybench status --device cuda
      lotterybench status 'mnist1d/*' --json
    """
    from benchmark.cli.progress import progress_document
    from benchmark.cli.status import show_progress
    from benchmark.cli.terminal import unit_of
    from benchmark.planning.select import existing_results, selection_of
    from benchmark.records.submissions import with_submissions

    store = existing_results(results)
    selection = selection_of(only, partial(with_submissions, store))
    while True:
        document = progress_document(store, selection, device)
        if as_json:
            click.echo(json.dumps(document, indent=1))
        else:
            if watch:
                click.clear()
            show_progress(document, unit_of(device), every)
        if not watch:
            return
        gc.collect()  # a verb that reads does not, but this one may run for days
        time.sleep(WATCH_SECONDS)
