"""What `run --dry-steps` does."""

from __future__ import annotations

import click

from benchmark.commands.plugins import Chosen
from benchmark.commands.selecting import Selection, patterns_of
from benchmark.protocol import Protocol
from benchmark.units import density_text


def try_out(selection: Selection, only: tuple[str, ...], steps: int, picked: Chosen) -> None:
    """Run the first cell of every protocol that was selected, and of every method that a pattern names."""
    from benchmark.dry import dry_run

    named = any(":" in pattern for pattern in patterns_of(only)) or bool(picked.files)
    first = {protocol.key: method for protocol, method in reversed(selection)}
    for protocol, method in selection:
        if not named and method != first[protocol.key]:
            continue
        done = dry_run(protocol, method, steps, picked.files)
        click.echo(
            f"{protocol.id}:{method} at {density_text(protocol, done.cell.level)}, seed {done.cell.seed}: "
            f"{_updates(protocol, done.updates)}, {done.mask}, on {done.data}"
        )
    click.echo("Dry: a few updates on little data. Nothing was recorded.")


def _updates(protocol: Protocol, made: int) -> str:
    return f"{made} updates of {protocol.recipe.steps:,}" if protocol.trains else "no training"
