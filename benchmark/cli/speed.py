"""The verb that measures the harness: speed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark import protocols
from benchmark.cli.tables import show_table
from benchmark.utils.errors import BadInput

if TYPE_CHECKING:
    from benchmark.perf.report import Report


CPU_TARGETS = {"engine / dataloader": 5.0, "engine / in-memory": 1.3}


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
    """How fast networks train and prune here, next to plain PyTorch loops and to what the device can do."""
    chosen = protocols.load(protocol)
    if to is not None and to.suffix != ".jsonl":
        raise BadInput(str(to), "figures are lines of JSON", "Name a .jsonl file")
    if not chosen.trains:
        raise BadInput(f"protocol '{protocol}'", "trains nothing", "Name one that trains, such as lth/lenet-mnist")
    if device != "cpu":
        from benchmark.training.device import require_device

        require_device(device)
    from benchmark.perf.measuring import USUAL, measured
    from benchmark.perf.report import append

    counts = replicas or tuple(2**i for i in range(2 * (os.cpu_count() or 1)) if 2**i <= 2 * (os.cpu_count() or 1))
    report = measured(chosen, device, counts, parts or USUAL, seconds, turns, lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(json.dumps(report.document(), indent=1))
    else:
        _show(report)
    if to is not None:
        append(report, to)
        click.echo(f"Appended to {to}", err=True)


def _show(report: Report) -> None:
    if report.loops:
        rows = [
            [loop.label, loop.networks, f"{loop.updates_per_second:,.1f}", f"{loop.lowest:,.1f} to {loop.highest:,.1f}",
             f"{loop.per_core_second:,.1f}", f"{loop.fraction_of_matmul:.1%}"]
            for loop in report.loops
        ]  # fmt: skip
        headings = ["loop", "networks", "updates/s, all networks", "over turns", "a core-second", "of matmul ceiling"]
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
