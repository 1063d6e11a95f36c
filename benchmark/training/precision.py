"""The arithmetic of training and evaluation."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def arithmetic(precision: str, device: str = "cpu") -> AbstractContextManager[object]:
    """Around a forward pass: bf16 is autocast (weights, optimizer and losses stay fp32).

    tf32 is a mode of CUDA's matrix products; on any other device it is fp32, and records say so (`described`).
    """
    return torch.autocast(device, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def described(precision: str, device: str = "cpu") -> str:
    """What a record's provenance says about a precision asked for on `device`."""
    if precision == "tf32" and device != "cuda":
        return f"fp32 (tf32 asked, which {device} has not)"
    return precision
