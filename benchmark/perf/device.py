"""What the device can do at best: a large matrix product at the recipe's precision, and copying."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from benchmark.training.device import cuda_settings

SIDE = {"cpu": 2048, "cuda": 8192}
COPIED_BYTES = {"cpu": 256 * 2**20, "cuda": 4 * 2**30}


@dataclass(frozen=True)
class Ceiling:
    """Operations (a multiply-add is two) and bytes (read and written) per second, all cores or the whole GPU."""

    matmul_flops: float
    copy_bytes: float


def ceiling(device: str, precision: str, turns: int = 5) -> Ceiling:
    """Measure it. On the CPU with one thread per core, whatever the thread count before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    try:
        side = SIDE[device]
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32  # autocast would time the conversion too
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        source = torch.empty(COPIED_BYTES[device], dtype=torch.uint8, device=device).zero_()
        target = torch.empty_like(source)
        with cuda_settings(precision):
            product = _seconds(lambda: torch.mm(a, b), device, turns)
        copied = _seconds(lambda: target.copy_(source), device, turns)
    finally:
        torch.set_num_threads(threads)
    return Ceiling(2 * side**3 / product, 2 * len(source) / copied)


def _seconds(work: Callable[[], object], device: str, turns: int) -> float:
    found = []
    for _ in range(turns + 1):
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return median(found[1:])
