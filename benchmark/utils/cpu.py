"""The processor settings that every number is made under."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h
KEPT = 1 << 30  # bytes


def configure_cpu() -> None:
    """One thread, and subnormal numbers as zero: decayed Adam moments would otherwise slow every step."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Let this process keep up to 1 GiB of what it freed; whether it could be asked for.

    glibc gives blocks of megabytes back to the kernel at every free. A step of Conv-2 that gets its activations anew,
    zeroed page by page, takes about a fifth longer. Other C libraries do as they do.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))


@contextmanager
def cpu_settings() -> Iterator[None]:
    """The thread count and rounding that records are made under; the caller's thread count comes back afterwards."""
    threads = torch.get_num_threads()
    configure_cpu()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
