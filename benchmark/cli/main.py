"""The command line: `lotterybench VERB`. No verb imports torch before it needs it, and `--help` nothing but click.

Exit codes: 0 ok, 1 a deviation or regression, 2 bad usage or nothing measured, 3 the environment, 70 a defect of this
program, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import traceback

import click

from benchmark import __version__
from benchmark.cli.authoring import check, new_pruner
from benchmark.cli.entry import STOPPED
from benchmark.cli.judging import figure, fsck, leaderboard, power, regression, report, score
from benchmark.cli.reading import info, list_, plan_, status
from benchmark.cli.running import run, speed, worker
from benchmark.cli.sharing import pull, push, submit, verify
from benchmark.utils.errors import EXIT_ENVIRONMENT, EXIT_USAGE, LotterybenchError

EXIT_INTERNAL = 70
NAMED_BEHIND_A_COLON = ("--method", "--methods", "--protocol", "--protocols")


class Grouped(click.Group):
    """Verbs under headings by what they are for, in place of one list in the alphabet's order."""

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - as click calls it
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the headings with their verbs and what each does."""
        width = max(len(verb.name or "") for group in VERBS.values() for verb in group)
        for heading, verbs in VERBS.items():
            with formatter.section(heading):
                room = formatter.width - 6 - width
                formatter.write_dl([((verb.name or "").ljust(width), verb.get_short_help_str(room)) for verb in verbs])


@click.group(cls=Grouped, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lotterybench")
def cli() -> None:
    """Do published claims about lottery tickets and pruning at initialization hold?

    \b
    Examples:
      lotterybench list                          what there is
      lotterybench run --budget 25m              measure what is missing
      lotterybench score                         decide the claims
      lotterybench leaderboard                   regenerate leaderboard.md

    Exit codes: 0 ok, 1 a deviation or regression, 2 bad usage or nothing measured, 3 the environment, 70 a defect of
    this program, 130 stopped by Ctrl-C.

    \b
    Names are completed after TAB in a shell that has read this, in ~/.bashrc say:
      eval "$(_LOTTERYBENCH_COMPLETE=bash_source lotterybench)"
    zsh: zsh_source in its place. fish: the same variable, with `| source` behind.
    """


VERBS: dict[str, tuple[click.Command, ...]] = {
    "Measure": (list_, info, plan_, run, status, speed),
    "Judge": (score, power, leaderboard, report, figure, regression, fsck),
    "Share": (submit, verify, push, pull),
    "Extend": (new_pruner, check),
}
for _verb in (*(verb for verbs in VERBS.values() for verb in verbs), worker):
    cli.add_command(_verb)


def _hinted(error: click.NoSuchOption) -> click.UsageError:
    """The same error; of an option for methods or protocols, there is none, it says how these are named instead."""
    if error.option_name not in NAMED_BEHIND_A_COLON:
        return error
    verb = error.ctx.info_name if error.ctx else "run"
    said = f"No such option '{error.option_name}'. Methods are named as PROTOCOL:METHOD"
    return click.UsageError(f"{said}: lotterybench {verb} mnist1d/mlp:imp", error.ctx)


def main() -> None:
    """Entry point: an error the user can act on becomes one line and an exit code."""
    # Else pydantic reads the metadata of every installed package, looking for plugins that nothing here needs.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends the program as it ends others, not with code 1
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without the sign for infinity is no reason to fail
    try:
        code = cli(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except LotterybenchError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except click.NoSuchOption as error:
        _hinted(error).show()
        sys.exit(EXIT_USAGE)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except (click.Abort, KeyboardInterrupt):
        print(STOPPED, file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        print(f"Error: {error}. Check the path, its permissions and the disk.", file=sys.stderr)
        sys.exit(EXIT_ENVIRONMENT)
    except Exception:  # a defect of this program: not one of the codes that a script may act on
        traceback.print_exc()
        sys.exit(EXIT_INTERNAL)
    finally:
        if "triton" not in sys.modules:  # its bindings count what is left at the end, and print 40 lines of it
            gc.freeze()  # the end: Python would look for cycles once more, a tenth of a second among many records
