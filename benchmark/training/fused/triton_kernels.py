"""The fused operation in Triton: two kernels forward, two backward. See `formulas` for what they calculate.

The first of each pair adds up over a slice of the examples for some channels, the second adds the slices and writes.
Slices are added in order and nothing is atomic, so the same inputs give the same bits. Sums of squares are of distances
from the channel's first value, because those of values themselves would lose the variance where the mean is large.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator,misc,no-untyped-call"
# Triton types what it compiles itself: what is a pointer here is a tensor where a kernel is launched.

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 1024  # values that a program has in hand at a time
PROGRAMS = 528  # four for each multiprocessor of an H100 or H200
SLICES = 64  # at most, so that adding them up stays cheap


@triton.jit
def _tile(start, channels, count, pixels, c, stride_n, stride_c, stride_p, E: tl.constexpr, C: tl.constexpr):
    """Offsets and mask of values `start` on, in (E, C); c: the channels' numbers."""
    e = start + tl.arange(0, E)
    n = (e // pixels).to(tl.int64)
    offsets = (n * stride_n + (e % pixels) * stride_p)[:, None] + c[None, :].to(tl.int64) * stride_c
    return offsets, (e < count)[:, None] & (c < channels)[None, :]


@triton.jit
def _added(sums, which, c, channels, slices, S: tl.constexpr, C: tl.constexpr):
    """(C,) of (2, slices, channels) sums, added over slices."""
    s = tl.arange(0, S)
    where = (which * slices + s)[:, None] * channels + c[None, :]
    inside = (s < slices)[:, None] & (c < channels)[None, :]
    return tl.sum(tl.load(sums + where, mask=inside, other=0.0), 0)


@triton.jit
def _moments(
    x, sums, channels, count, pixels, length, slices, stride_n, stride_c, stride_p, E: tl.constexpr, C: tl.constexpr
):
    c = tl.program_id(0) * C + tl.arange(0, C)
    first = tl.load(x + c.to(tl.int64) * stride_c, mask=c < channels, other=0.0).to(tl.float32)
    one, two = tl.zeros((E, C), tl.float32), tl.zeros((E, C), tl.float32)
    begin = tl.program_id(1) * length
    for start in range(begin, tl.minimum(begin + length, count), E):
        offsets, inside = _tile(start, channels, count, pixels, c, stride_n, stride_c, stride_p, E, C)
        d = tl.where(inside, tl.load(x + offsets, mask=inside, other=0.0).to(tl.float32) - first[None, :], 0.0)
        one += d
        two += d * d
    place = tl.program_id(1) * channels + c
    tl.store(sums + place, tl.sum(one, 0), mask=c < channels)
    tl.store(sums + slices * channels + place, tl.sum(two, 0), mask=c < channels)


@triton.jit
def _normalise(
    x, shortcut, weight, bias, y, sums, mean, scale, running_mean, running_var, momentum, eps,
    channels, count, pixels, length, slices, stride_n, stride_c, stride_p,
    HAS_SHORTCUT: tl.constexpr, E: tl.constexpr, C: tl.constexpr, S: tl.constexpr,
):  # fmt: skip
    c = tl.program_id(0) * C + tl.arange(0, C)
    known = c < channels
    first = tl.load(x + c.to(tl.int64) * stride_c, mask=known, other=0.0).to(tl.float32)
    off = _added(sums, 0, c, channels, slices, S, C) / count
    var = tl.maximum(_added(sums, 1, c, channels, slices, S, C) / count - off * off, 0.0)
    m, s = first + off, 1.0 / tl.sqrt(var + eps)
    w = tl.load(weight + c, mask=known, other=0.0) * s
    b = tl.load(bias + c, mask=known, other=0.0)
    begin = tl.program_id(1) * length
    if begin == 0:
        tl.store(mean + c, m, mask=known)
        tl.store(scale + c, s, mask=known)
        before = tl.load(running_mean + c, mask=known, other=0.0)
        tl.store(running_mean + c, before + momentum * (m - before), mask=known)
        before = tl.load(running_var + c, mask=known, other=0.0)
        tl.store(running_var + c, before + momentum * (var * (count / (count - 1.0)) - before), mask=known)
    for start in range(begin, tl.minimum(begin + length, count), E):
        offsets, inside = _tile(start, channels, count, pixels, c, stride_n, stride_c, stride_p, E, C)
        v = (tl.load(x + offsets, mask=inside, other=0.0).to(tl.float32) - m[None, :]) * w[None, :] + b[None, :]
        if HAS_SHORTCUT:
            v += tl.load(shortcut + offsets, mask=inside, other=0.0).to(tl.float32)
        tl.store(y + offsets, tl.maximum(v, 0.0).to(y.dtype.element_ty), mask=inside)


@triton.jit
def _gradient_sums(
    g, x, y, mean, scale, sums, channels, count, pixels, length, slices, stride_n, stride_c, stride_p,
    E: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    c = tl.program_id(0) * C + tl.arange(0, C)
    m = tl.load(mean + c, mask=c < channels, other=0.0)[None, :]
    s = tl.load(scale + c, mask=c < channels, other=0.0)[None, :]
    one, two = tl.zeros((E, C), tl.float32), tl.zeros((E, C), tl.float32)
    begin = tl.program_id(1) * length
    for start in range(begin, tl.minimum(begin + length, count), E):
        offsets, inside = _tile(start, channels, count, pixels, c, stride_n, stride_c, stride_p, E, C)
        passes = tl.load(y + offsets, mask=inside, other=0.0).to(tl.float32) > 0.0
        d = tl.where(passes, tl.load(g + offsets, mask=inside, other=0.0).to(tl.float32), 0.0)
        one += d
        two += d * (tl.load(x + offsets, mask=inside, other=0.0).to(tl.float32) - m) * s
    place = tl.program_id(1) * channels + c
    tl.store(sums + place, tl.sum(one, 0), mask=c < channels)
    tl.store(sums + slices * channels + place, tl.sum(two, 0), mask=c < channels)


@triton.jit
def _gradient(
    g, x, y, weight, mean, scale, sums, dx, dr, dw, db,
    channels, count, pixels, length, slices, stride_n, stride_c, stride_p,
    HAS_SHORTCUT: tl.constexpr, E: tl.constexpr, C: tl.constexpr, S: tl.constexpr,
):  # fmt: skip
    c = tl.program_id(0) * C + tl.arange(0, C)
    known = c < channels
    m = tl.load(mean + c, mask=known, other=0.0)[None, :]
    s = tl.load(scale + c, mask=known, other=0.0)
    b, w = _added(sums, 0, c, channels, slices, S, C), _added(sums, 1, c, channels, slices, S, C)
    ws = (tl.load(weight + c, mask=known, other=0.0) * s)[None, :]
    begin = tl.program_id(1) * length
    if begin == 0:
        tl.store(db + c, b, mask=known)
        tl.store(dw + c, w, mask=known)
    b, w, s = (b / count)[None, :], (w / count)[None, :], s[None, :]
    for start in range(begin, tl.minimum(begin + length, count), E):
        offsets, inside = _tile(start, channels, count, pixels, c, stride_n, stride_c, stride_p, E, C)
        passes = tl.load(y + offsets, mask=inside, other=0.0).to(tl.float32) > 0.0
        d = tl.where(passes, tl.load(g + offsets, mask=inside, other=0.0).to(tl.float32), 0.0)
        if HAS_SHORTCUT:
            tl.store(dr + offsets, d.to(dr.dtype.element_ty), mask=inside)
        unit = (tl.load(x + offsets, mask=inside, other=0.0).to(tl.float32) - m) * s
        tl.store(dx + offsets, (ws * (d - b - unit * w)).to(dx.dtype.element_ty), mask=inside)


class _Shape:
    """How a tensor (n, c, h, w), one of whose axes lie densely, is cut into programs and tiles."""

    def __init__(self, x: Tensor) -> None:
        n, channels, h, w = x.shape
        last = x.stride(1) == 1 and channels > 1  # channels_last: channels lie next to each other
        together = min(64, triton.next_power_of_2(channels)) if last else 1
        count, groups, tile = n * h * w, -(-channels // together), TILE // together
        slices = max(1, min(SLICES, PROGRAMS // groups, -(-count // (4 * tile))))
        length = -(-count // (slices * tile)) * tile  # whole tiles
        slices = -(-count // length)
        self.grid, self.slices, self.tile, self.together = (groups, slices), slices, tile, together
        pixel = x.stride(3) if w > 1 else x.stride(2) if h > 1 else 1
        self.numbers = (channels, count, h * w, length, slices, x.stride(0), x.stride(1), pixel)
        self.sums = torch.empty(2, slices, channels, dtype=torch.float32, device=x.device)

    @property
    def blocks(self) -> dict[str, int]:
        return {"E": self.tile, "C": self.together}


def forward(
    x: Tensor, shortcut: Tensor | None, weight: Tensor, bias: Tensor, running: tuple[Tensor, Tensor], momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """See `formulas.forward`."""
    shape, y = _Shape(x), torch.empty_like(x)
    mean, scale = (torch.empty_like(weight) for _ in range(2))
    kernel: Any = _moments
    kernel[shape.grid](x, shape.sums, *shape.numbers, **shape.blocks)
    has, kernel = shortcut is not None, _normalise
    kernel[shape.grid](
        x, shortcut if has else x, weight, bias, y, shape.sums, mean, scale, *running, momentum, eps, *shape.numbers,
        HAS_SHORTCUT=has, S=triton.next_power_of_2(shape.slices), **shape.blocks,
    )  # fmt: skip
    return y, mean, scale


def backward(
    g: Tensor, x: Tensor, y: Tensor, weight: Tensor, mean: Tensor, scale: Tensor, wants_shortcut: bool
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """See `formulas.backward`. All of g, x and y lie in memory alike."""
    shape, dx = _Shape(x), torch.empty_like(x)
    dr = torch.empty_like(g) if wants_shortcut else None
    dw, db = (torch.empty_like(weight) for _ in range(2))
    kernel: Any = _gradient_sums
    kernel[shape.grid](g, x, y, mean, scale, shape.sums, *shape.numbers, **shape.blocks)
    kernel = _gradient
    kernel[shape.grid](
        g, x, y, weight, mean, scale, shape.sums, dx, dx if dr is None else dr, dw, db, *shape.numbers,
        HAS_SHORTCUT=wants_shortcut, S=triton.next_power_of_2(shape.slices), **shape.blocks,
    )  # fmt: skip
    return dx, dr, dw, db
