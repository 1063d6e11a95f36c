"""The processor settings of every training."""

from __future__ import annotations

import resource
import sys

import pytest
import torch

from benchmark.training.device import configure_cpu, keep_freed_memory

BLOCK = 1 << 24  # bytes, 4,096 pages: the activations of one layer of Conv-2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="NOT TESTED: glibc's malloc only")
def test_a_step_does_not_get_its_memory_anew() -> None:
    """The kernel gives pages out once: blocks of megabytes that were freed are used again."""
    configure_cpu()
    assert keep_freed_memory()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.empty(BLOCK // 4).fill_(1)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert faults < 5 * 4096  # 20 times 4,096 where they are given back
