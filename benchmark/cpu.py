"""The processor settings that every number is made under."""

from __future__ import annotations

import torch


def configure_cpu() -> None:
    """One thread, and subnormal numbers as zero: decayed Adam moments would otherwise slow every step."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
