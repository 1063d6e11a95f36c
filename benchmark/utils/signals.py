"""Being asked to stop: at once where nothing is at stake, at the next safe point inside a training. No torch."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux
_asked: list[int] = []
_inside: list[None] = []


def on_signals(*numbers: signal.Signals) -> None:
    """Stop this process on these signals: it lets go of its leases, and a training in progress is kept on disk."""
    for number in numbers:
        signal.signal(number, _ask)


def with_parent() -> None:
    """Ask this process to stop (SIGTERM) when its parent dies, even if that is killed; only Linux can do that.

    What keeps track of processes by parent alone, as some Slurms do, would lose an orphan and let it run on.
    """
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, int(signal.SIGTERM))
        if os.getppid() != parent:  # it died just before
            sys.exit(128 + signal.SIGTERM)


def _ask(number: int, _frame: FrameType | None) -> None:
    _asked.append(128 + number)
    if not _inside or len(_asked) > 1:  # who asks twice does not want to wait
        sys.exit(_asked[0])


@contextmanager
def with_safe_points() -> Iterator[None]:
    """In this block `stop_if_asked` is called often; a request waits for it."""
    _inside.append(None)
    try:
        yield
    finally:
        _inside.pop()


def asked() -> bool:
    """Whether the caller is to save what it has and call `stop_if_asked`."""
    return bool(_asked)


def stop_if_asked() -> None:
    """A safe point. Raises SystemExit."""
    if _asked:
        sys.exit(_asked[0])
