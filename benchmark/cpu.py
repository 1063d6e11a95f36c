"""The processor settings that every number is made under."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def configure_cpu() -> None:
    """One thread, and subnormal numbers as zero: decayed Adam moments would otherwise slow every step."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


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
