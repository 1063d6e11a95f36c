"""What `lotterybench` starts first: Ctrl-C while the verbs are still being loaded ends quietly, without a traceback.

Loads nothing but the standard library before it has seen to that.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

STOPPED = "Stopped. Finished cells are kept; the same command goes on."


def main() -> None:
    """Load the verbs and run the one that the command line names."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else ignored, as of a job in the background, or somebody's own
        signal.signal(signal.SIGINT, _leave)
    from benchmark.cli.main import main as run_verb

    signal.signal(signal.SIGINT, before)
    run_verb()


def _leave(_number: int, _frame: FrameType | None) -> None:
    """End now: nothing is begun yet, and an exception inside an import would be told in many lines."""
    os.write(2, f"{STOPPED}\n".encode())
    os._exit(130)
