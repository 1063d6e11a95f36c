"""The device that networks are trained on, as records name it, and whether it is there."""

from __future__ import annotations

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
