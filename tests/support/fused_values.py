"""Inputs of the operation that fuses batch norm and ReLU, and all that both of its passes give."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

MOMENTUM, EPSILON = 0.1, 1e-5


def values(shape: tuple[int, ...], dtype: torch.dtype, layout: torch.memory_format) -> tuple[Tensor, ...]:
    """x with a mean that is not near zero, a shortcut, a gradient; then weight, bias and running moments."""
    rng, channels = torch.Generator().manual_seed(3), shape[1]
    images = [torch.randn(shape, generator=rng) * scale + off for scale, off in ((2, 30), (1, 0), (1, 0))]
    rows = [torch.randn(channels, generator=rng) for _ in range(3)]
    return (*(i.to(dtype).contiguous(memory_format=layout) for i in images), *rows, torch.rand(channels, generator=rng))


def calculated(engine: Any, given: tuple[Tensor, ...], shortcut: bool) -> dict[str, Tensor]:
    """All that both passes give and change."""
    x, r, g, weight, bias, *moments = given
    running = (moments[0].clone(), moments[1].clone())
    y, mean, scale = engine.forward(x, r if shortcut else None, weight, bias, running, MOMENTUM, EPSILON)
    dx, dr, dw, db = engine.backward(g, x, y, weight, mean, scale, shortcut)
    found = {"y": y, "mean": running[0], "var": running[1], "dx": dx, "dw": dw, "db": db}
    return found | ({"dr": dr} if shortcut else {})


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference, by the size of each tensor's largest."""
    assert one.keys() == other.keys()
    return max(float((one[n].double() - t.double()).abs().max() / t.double().abs().max()) for n, t in other.items())
