"""The device that networks are trained on: its name in records, whether it is there, and how it calculates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from benchmark.records.provenance import cpu_name
from benchmark.utils.errors import EnvironmentProblem


def device_name(device: str) -> str:
    """A device (cpu or cuda) with its maker's name for it."""
    return f"cpu: {cpu_name()}" if device == "cpu" else f"{device}: {torch.cuda.get_device_name()}"


def driver(device: str) -> str | None:
    """The CUDA version that torch was built with; None on the CPU."""
    return None if device == "cpu" else f"CUDA {torch.version.cuda}"


def require_device(device: str) -> None:
    """Raise EnvironmentProblem if a device was asked for that is not there."""
    if device == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblem("--device cuda", "torch sees no CUDA device", "Leave it out to use the CPU")


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


@contextmanager
def cuda_settings(precision: str) -> Iterator[None]:
    """How CUDA multiplies in forward and backward passes; the caller's settings come back afterwards.

    cuDNN's convolutions would use TF32 by default, so fp32 has to be said. Shapes are fixed, so cuDNN may time kernels.
    """
    settings = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before, benchmark = [each.fp32_precision for each in settings], torch.backends.cudnn.benchmark
    try:
        for each in settings:
            each.fp32_precision = "tf32" if precision == "tf32" else "ieee"
        torch.backends.cudnn.benchmark = True
        yield
    finally:
        for each, value in zip(settings, before, strict=True):
            each.fp32_precision = value
        torch.backends.cudnn.benchmark = benchmark
