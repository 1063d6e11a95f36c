"""Which machine and which process: how processes on one results folder tell each other apart. No torch."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path


@cache
def host() -> str:
    """The machine's name, for people. Under Slurm the node's, of which one machine may have several."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


@cache
def machine() -> str | None:
    """The same text in every process whose process ids mean the same; None where the system does not say.

    Containers of one machine have namespaces of their own, a restarted machine has another boot id.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return None


def started(pid: int) -> str | None:
    """When a living process of this machine was started, in the kernel's ticks; None if it is gone or a zombie.

    With the id it names a process for good: ids are used again.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def surely_gone(pid: int, since: str) -> bool:
    """Whether the process `pid` that was started at `since` is known to have ended on this machine.

    What cannot be looked at counts as living: where /proc hides the processes of other users, `started` says nothing.
    """
    now = started(pid)
    if now is not None:
        return now != since
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False  # somebody else's
    return Path(f"/proc/{pid}/stat").exists()  # a zombie of our own
