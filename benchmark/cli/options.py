"""Options that several verbs share: a decorator for each, and the types their values are read as.

Every verb's module imports this one to describe itself to `--help`, so it imports click and little else.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from functools import reduce, wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import click

from benchmark.utils.errors import BadInput
from benchmark.utils.files import DEFAULT_RESULTS

Device = Literal["cpu", "cuda"]
ExecutorName = Literal["in-process", "local", "slurm"]
EXECUTORS: tuple[ExecutorName, ...] = ("in-process", "local", "slurm")
Command = TypeVar("Command", bound=Callable[..., Any])
P = ParamSpec("P")
R = TypeVar("R")


class Duration(click.ParamType[float]):
    """Seconds from text such as 90s, 25m, 2h or 1h30m."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds; fails with what is accepted."""
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", str(value))
        seconds = sum(int(n or 0) * unit for n, unit in zip(match.groups(), (3600, 60, 1), strict=True)) if match else 0
        if not seconds:
            self.fail(f"'{value}' is no duration. Write 90s, 25m, 2h or 1h30m", param, ctx)
        return float(seconds)


class Counts(click.ParamType[tuple[int, ...]]):
    """Numbers of replicas from text such as 1,2,4."""

    name = "counts"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Fails with what is accepted."""
        if isinstance(value, tuple):
            return value
        try:
            counts = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            counts = ()
        if not counts or min(counts) < 1:
            self.fail(f"'{value}' are no numbers of replicas. Write 1,2,4", param, ctx)
        return counts


def without_gc(command: Callable[P, R]) -> Callable[P, R]:
    """For a verb that reads and ends: no collection of cycles, which among 20,000 records takes longer than reading."""

    @wraps(command)
    def uncollected(*args: P.args, **options: P.kwargs) -> R:
        gc.disable()
        try:
            return command(*args, **options)
        finally:
            gc.enable()

    return uncollected


def only_argument(command: Command) -> Command:
    """ONLY...: patterns that narrow a verb to protocols or methods."""
    metavar = "[PROTOCOL[:METHOD]]..."
    return click.argument("only", nargs=-1, metavar=metavar, shell_complete=protocol_names)(command)


def protocol_names(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    """For the shell's TAB: protocols, and after a colon methods of the one before it, that begin as typed."""
    from benchmark import protocols

    name, colon, _ = typed.partition(":")
    if not colon:
        return [known for known in protocols.available() if known.startswith(typed)]
    from benchmark.protocols.cells import method_names

    if name not in protocols.available():
        return []
    return [full for m in method_names(protocols.load(name)) if (full := f"{name}:{m}").startswith(typed)]


def folder_option(flag: str, default: Path, text: str) -> Callable[[Command], Command]:
    """An option whose value is a folder."""
    kind = click.Path(path_type=Path, file_okay=False)
    return click.option(flag, type=kind, default=default, show_default=True, help=text)


def results_option(command: Command) -> Command:
    """--results: the results folder."""
    return folder_option("--results", DEFAULT_RESULTS, "Results folder.")(command)


def workers_option(command: Command) -> Command:
    """--workers: processes side by side."""

    def every_core() -> int:
        from benchmark.utils.hardware import cores

        return cores()

    return click.option(
        "--workers", type=click.IntRange(1), default=every_core, show_default="one per core", help="Processes."
    )(command)


def retry_option(command: Command) -> Command:
    """--retry-failed: failed cells are work again."""
    text = "Try cells again that ended in a failed record."
    return click.option("--retry-failed", is_flag=True, help=text)(command)


def device_option(command: Command) -> Command:
    """--device: where networks are trained."""
    return click.option(
        "--device",
        type=click.Choice(["cpu", "cuda"]),
        default="cpu",
        show_default=True,
        help="cuda: many networks side by side on one GPU.",
    )(command)


def all_option(command: Command) -> Command:
    """--all: every row."""
    return click.option("--all", "every", is_flag=True, help="Every row, however many.")(command)


def json_option(command: Command) -> Command:
    """--json: machine-readable output."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")(command)


def plugin_option(command: Command) -> Command:
    """--plugin FILE, repeatable."""
    return click.option(
        "--plugin",
        "plugins",
        multiple=True,
        type=click.Path(path_type=Path, dir_okay=False),
        help="A pruner in a Python file. Adds a method, called as the file's stem, to every selected protocol; where "
        "your own protocol file names that pruner, it is used there instead. A protocol without :METHOD then means "
        "the added method and the dense network it is compared with.",
    )(command)


def set_option(command: Command) -> Command:
    """--set NAME=VALUE, repeatable."""
    return click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="A hyper-parameter of the plugin, read as its constructor annotates it. It becomes part of the method's "
        "name, as in my_method@alpha=0.5, unless it is the constructor's default.",
    )(command)


wanted_option = click.option(
    "--for", "wanted", metavar="CLAIM|PAPER|METHOD", help="Only what this needs to be decided."
)
buy_option = click.option(
    "--buy",
    type=click.Choice(["verdicts"]),
    help="Only what should decide most claims for its cost, cheapest verdict first.",
)
shard_option = click.option(
    "--shard", metavar="I/N", help="Only part I of N, the same on every machine: for CI, sbatch, ..."
)


def refuse_both(wanted: str | None, buy: str | None) -> None:
    """Raises BadInput where both --for and --buy say what to measure."""
    if wanted and buy:
        raise BadInput(
            "--buy verdicts", f"chooses the claims itself, and --for {wanted} names some", "Give one of both"
        )


def narrowing_options(command: Command) -> Command:
    """--seeds and --levels, as text."""
    levels = "Only these levels, such as 1,3-5 (0 is dense). What a chain needs before them is run too."
    seeds = click.option("--seeds", metavar="N,N-N", help="Only these seeds, such as 0,2-4.")
    return seeds(click.option("--levels", metavar="N,N-N", help=levels)(command))


def execution_options(command: Callable[..., None]) -> Callable[..., None]:
    """Where, how and of which cells, --executor to --levels, handed on as one `execution: Execution`."""

    @wraps(command)
    def with_execution(  # noqa: PLR0913 - one for each option
        *,
        executor: ExecutorName,
        workers: int,
        shard: str | None,
        profile: Path | None,
        wait: bool,
        wanted: str | None,
        buy: str | None,
        seeds: str | None,
        levels: str | None,
        **options: object,
    ) -> None:
        from benchmark.cli.execution import Execution
        from benchmark.planning.narrowed import Narrowed

        refuse_both(wanted, buy)
        narrowed = Narrowed.parse(seeds, levels)
        execution = Execution.parse(
            executor, workers, shard, profile, wait, wanted, buys=buy is not None, narrowed=narrowed
        )
        command(execution=execution, **options)

    decorators = (
        wanted_option,
        buy_option,
        narrowing_options,
        click.option("--wait", is_flag=True, help="Slurm: return when all tasks have ended."),
        click.option("--profile", type=click.Path(path_type=Path, dir_okay=False), help="Slurm: what to ask for."),
        shard_option,
        workers_option,
        click.option(
            "--executor", type=click.Choice(EXECUTORS), default="local", show_default=True,
            help="in-process: here, one job after another. local: --workers processes. slurm: an array of tasks.",
        ),
    )  # fmt: skip
    return reduce(lambda wrapped, decorator: decorator(wrapped), decorators, with_execution)
