"""Triton's kernels of batch norm and ReLU in its interpreter, against the formulas: run by test_fused.py."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from fused_values import apart, calculated, values

from benchmark.training.fused import formulas

if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("run by test_fused.py, in Triton's interpreter", allow_module_level=True)
from benchmark.training.fused import triton_kernels as kernels

USUAL, LAST = torch.contiguous_format, torch.channels_last
CASES = [
    ((3, 3, 3, 5), USUAL, torch.float32),
    ((3, 3, 3, 5), LAST, torch.float32),
    ((3, 3, 3, 5), LAST, torch.bfloat16),
    ((3, 2, 1, 1), USUAL, torch.bfloat16),
    ((2, 1, 3, 3), USUAL, torch.float32),
]


@pytest.mark.parametrize(("shape", "layout", "dtype"), CASES)
def test_the_kernels_are_the_formulas(
    monkeypatch: pytest.MonkeyPatch, shape: Any, layout: Any, dtype: torch.dtype
) -> None:
    """Several slices of several tiles, the last of which are cut; channels that fill no block.

    Stated tolerance: 1e-5 of a tensor's largest value in fp32, one unit of its last place in bf16.
    """
    monkeypatch.setattr(kernels, "TILE", 8)
    given, tolerance = values(shape, dtype, layout), 1e-5 if dtype == torch.float32 else 2**-7
    for shortcut in (False, True):
        found = calculated(kernels, given, shortcut)
        assert apart(found, calculated(formulas, given, shortcut)) < tolerance
        assert found["y"].stride() == given[0].stride()
    assert kernels._Shape(given[0]).slices > 1 or given[0].numel() < 100


def test_kernels_give_the_same_bits_again() -> None:
    given = values((4, 3, 5, 5), torch.float32, torch.contiguous_format)
    one, other = (calculated(kernels, given, True) for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_slices_cover_every_example() -> None:
    """Of ResNet-20 alone (16 channels), of 64 stacked ones, and of the shapes between."""
    for shape in ((128, 16, 32, 32), (128, 1024, 32, 32), (128, 64, 8, 8), (80, 512, 2, 2), (1, 1, 1, 1)):
        for layout in (torch.contiguous_format, torch.channels_last):
            cut = kernels._Shape(torch.empty(shape, device="meta").contiguous(memory_format=layout))
            channels, count, _, length, slices, *_ = cut.numbers
            assert (slices - 1) * length < count <= slices * length
            assert cut.grid[0] * cut.together >= channels
            assert cut.tile * cut.together == 1024
