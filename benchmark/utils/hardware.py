"""This machine: cores that may be used, GPUs, and names by which processes on one results folder tell each other apart.

No torch.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from functools import cache
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cores() -> int:
    """Cores this process may use: fewer than the machine has under Slurm, in a container, or under taskset."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text().split()
        return max(1, min(allowed, int(quota) // int(period)))
    except (OSError, ValueError):  # no control group, or one without a limit: "max"
        return allowed


def gpus() -> tuple[str, ...]:
    """Ids of the GPUs this process may use, as CUDA_VISIBLE_DEVICES takes them: the user's own, or their UUIDs.

    Numbers would not do: CUDA counts from the fastest GPU on, `nvidia-smi` by bus, so on a machine with several kinds
    both name different ones.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(part.strip() for part in chosen.split(",") if part.strip() not in ("", "-1"))
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(re.findall(r"^GPU \d+: .*\(UUID: ([^)]+)\)", listed, re.MULTILINE))


@cache
def gpu_name() -> str | None:
    """The maker's name for the first GPU, as torch tells it too; None where there is none."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    command += [f"--id={first}" for first in gpus()[:1]]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return next((line.strip() for line in listed.splitlines() if line.strip()), None)


def share_of(worker: int, found: tuple[str, ...]) -> dict[str, str]:
    """Environment of one of several workers: one thread per library, and one of the GPUs, in turn, if there are any.

    Two busy cores with default threading run slower than one (peers.md, section 7).
    """
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**threads, "CUDA_VISIBLE_DEVICES": found[worker % len(found)]} if found else threads


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
