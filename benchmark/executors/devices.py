"""What this machine offers workers: cores that may be used, and GPUs. No torch."""

from __future__ import annotations

import os
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
    """Ids of the GPUs this process may use, as CUDA_VISIBLE_DEVICES takes them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(part.strip() for part in chosen.split(",") if part.strip() not in ("", "-1"))
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(str(n) for n, line in enumerate(line for line in listed.splitlines() if line.startswith("GPU ")))


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
