"""Verbs that train: run, worker, speed."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.cli.options import (
    Counts,
    Device,
    Duration,
    device_option,
    execution_options,
    json_option,
    only_argument,
    plugin_option,
    results_option,
    retry_option,
    set_option,
)
from benchmark.utils.errors import BadInput, LotterybenchError

if TYPE_CHECKING:
    from benchmark.cli.execution import Execution
    from benchmark.perf.report import SpeedReport

CPU_TARGETS = {"engine / dataloader": 5.0, "engine / in-memory": 1.3}


@click.command()
@only_argument
@results_option
@click.option("--budget", type=Duration(), help="Stop in time, at a safe point: 90s, 25m, 2h. Default: no limit.")
@plugin_option
@set_option
@retry_option
@execution_options
@click.option(
    "--recheck",
    type=click.Path(path_type=Path, file_okay=False),
    help="With time left, measure finished cells again into this folder and compare.",
)
@device_option
@click.option("--dry-steps", type=click.IntRange(1), help="Only try: a few updates on little data, nothing recorded.")
def run(  # noqa: PLR0913, PLR0917 - one for each option
    only: tuple[str, ...],
    results: Path,
    budget: float | None,
    plugins: tuple[Path, ...],
    settings: tuple[str, ...],
    retry_failed: bool,
    recheck: Path | None,
    device: Device,
    dry_steps: int | None,
    execution: Execution,
) -> None:
    """Measure what is missing, most wanted first; whatever was finished is kept.

    \b
    Examples:
      lotterybench run --budget 25m
      lotterybench run 'lth/*' --budget 2h --workers 2
      lotterybench run mnist1d/mlp:imp --results /tmp/mine
      lotterybench run 'lth/*' --executor slurm --profile cluster.yaml
      lotterybench run --shard 3/8
      lotterybench run --budget 2h --for lth
      lotterybench run --budget 2h --buy verdicts
      lotterybench run --budget 10m --recheck recheck
      lotterybench run mnist1d/mlp --plugin my_method.py --set alpha=0.5
      lotterybench run 'grasp/*' --dry-steps 2
    """
    from benchmark.cli.execution import RunOptions, conclude, execute, fetched, try_out, with_their_plugins
    from benchmark.cli.execution import recheck as measure_again
    from benchmark.cli.outlook import say_left_out, show_plan
    from benchmark.cli.selection import chosen, say_confined
    from benchmark.planning.select import begun_first, protocols_in, refuse_part_of_results, too_long_for
    from benchmark.records.store import Store
    from benchmark.utils.hardware import gpus

    if device != "cpu":
        from benchmark.training.device import require_device

        require_device(device)
    refuse_part_of_results(results)
    store = Store(results)
    picked = chosen(only, store, plugins, settings)
    if device == "cuda":
        execution = replace(execution, workers=max(1, min(execution.workers, len(gpus()))))
    options = RunOptions(execution, time.monotonic() + budget if budget else None, budget, picked, retry_failed, device)
    selection = with_their_plugins(picked)
    if dry_steps is not None:
        try_out(selection, only, dry_steps, picked)
        return
    for protocol in protocols_in(selection):
        store.refuse_other_document(protocol)
    selection = begun_first(selection, store)
    if execution.buys:
        options = options.buying(selection, store)
    planned = options.plan(selection, store)
    too_long = too_long_for(planned, selection, store, options.seconds_left)
    say_left_out(too_long)
    selection = [pair for pair in selection if pair[0].key not in too_long]
    needed = {p.key for p in protocols_in(selection)} if recheck else {item.job.protocol.key for item in planned}
    selection = fetched(selection, needed)
    keys = {protocol.key for protocol, _ in selection}
    planned = [item for item in planned if item.job.protocol.key in keys]
    outlook = options.outlook(planned, store, budget)
    recorded: frozenset[str] = frozenset()
    if planned:
        show_plan(selection, outlook, store)
        say_confined(selection, picked)
        if any(outlook.fits):
            recorded = execute(planned, store, options)
        else:
            click.echo("Not one training fits the budget; give it more time.")
    else:
        options.say_nothing_planned(selection)
    if (
        recheck is not None
        and execution.executor != "slurm"
        and (options.seconds_left is None or options.seconds_left > 0)
    ):
        measure_again([pair for pair in selection if pair in picked.measurable], store, Store(recheck), options)
    if execution.waits:
        conclude(selection, store, recorded)


@click.command(hidden=True)
@click.argument("plan", type=click.Path(path_type=Path, dir_okay=False))
def worker(plan: Path) -> None:
    """One worker process of `run`, which wrote the file PLAN; prints one JSON object per line."""
    from benchmark.harness.executors.executor import WorkOrder, work_here
    from benchmark.utils import signals

    signals.on_signals(signal.SIGTERM)  # from Slurm, or from `run`
    signals.with_parent()
    try:
        work_here(WorkOrder.load(plan), _emit)
    except LotterybenchError as error:
        print(json.dumps({"event": "error", "text": str(error)}), flush=True)
        raise click.exceptions.Exit(error.exit_code) from error


def _emit(event: str, fields: dict[str, Any]) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


@click.command()
@click.argument("protocol", default="lth/lenet-mnist")
@click.option("--replicas", type=Counts(), help="Replicas side by side. Default: 1, 2, 4, ... to twice the cores.")
@click.option(
    "--part", "parts", multiple=True, type=click.Choice(["train", "prune", "verbs", "many", "synflow", "kernels"]),
    help="What to measure; default: all but many, 20,000 records, synflow: minutes, and kernels, for an MLP.",
)  # fmt: skip
@click.option("--seconds", type=click.FloatRange(0.05), default=2.0, show_default=True, help="A loop's turn.")
@click.option("--turns", type=click.IntRange(1), default=5, show_default=True, help="Turns of every loop.")
@device_option
@click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="Append the figures to this .jsonl file.")
@json_option
def speed(
    protocol: str,
    replicas: tuple[int, ...] | None,
    parts: tuple[str, ...],
    seconds: float,
    turns: int,
    device: str,
    to: Path | None,
    as_json: bool,
) -> None:
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
    from benchmark import protocols

    chosen = protocols.load(protocol)
    if to is not None and to.suffix != ".jsonl":
        raise BadInput(str(to), "figures are lines of JSON", "Name a .jsonl file")
    if not chosen.trains:
        raise BadInput(f"protocol '{protocol}'", "trains nothing", "Name one that trains, such as lth/lenet-mnist")
    if device != "cpu":
        from benchmark.training.device import require_device

        require_device(device)
    from benchmark.perf.measuring import USUAL, measure_speed
    from benchmark.perf.report import append

    counts = replicas or tuple(2**i for i in range(2 * (os.cpu_count() or 1)) if 2**i <= 2 * (os.cpu_count() or 1))
    report = measure_speed(
        chosen, device, counts, parts or USUAL, seconds, turns, lambda text: click.echo(text, err=True)
    )
    if as_json:
        click.echo(json.dumps(report.document(), indent=1))
    else:
        _show_speed(report)
    if to is not None:
        append(report, to)
        click.echo(f"Appended to {to}", err=True)


def _show_speed(report: SpeedReport) -> None:
    from benchmark.cli.terminal import show_table

    if report.loops:
        rows = [
            [loop.label, loop.networks, f"{loop.updates_per_second:,.1f}", f"{loop.lowest:,.1f} to {loop.highest:,.1f}",
             f"{loop.per_core_second:,.1f}", f"{loop.fraction_of_matmul:.1%}",
             *([f"{loop.peak_memory_bytes / 2**30:.1f} GiB"] if loop.peak_memory_bytes is not None else [])]
            for loop in report.loops
        ]  # fmt: skip
        headings = ["loop", "networks", "updates/s, all networks", "over turns", "a core-second", "of matmul ceiling"]
        headings += ["peak memory"] if report.device.startswith("cuda") else []
        show_table(f"Training {report.protocol} on {report.device}", headings, rows)
        click.echo(
            f"Ceilings: matrix product {report.ceiling['matmul_flops'] / 1e9:,.0f} GFLOP/s, "
            f"copy {report.ceiling['copy_bytes_per_second'] / 1e9:,.1f} GB/s."
        )
    for name, ratio in report.ratios.items():
        wanted = CPU_TARGETS.get(name) if report.device.startswith("cpu") else None
        click.echo(f"{name}: {ratio:.2f}" + (f" (target for LeNet-300-100 on 2 cores: {wanted})" if wanted else ""))
    if report.seconds:
        rows = [[timed.what, f"{timed.seconds:.2f}"] for timed in report.seconds]
        show_table("Seconds", ["what", "seconds"], rows)
    click.echo(f"Load average before: {report.load_average:.1f} on {os.cpu_count()} cores.")
