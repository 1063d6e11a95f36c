"""What the fused operation calculates, in PyTorch: the reference of its kernels, and what runs where there are none.

With x (n, c, h, w), m = n h w and everything per channel (Ioffe & Szegedy, arXiv 1502.03167, Algorithm 1):

    x^ = (x - mean) / sqrt(var + eps)        y = max(0, w x^ + b + r)
    g' = g where y > 0, else 0               dr = g'
    db = sum g'     dw = sum g' x^           dx = w / sqrt(var + eps) (g' - db / m - x^ dw / m)

Moments and sums are in float32 whatever the type of x; y, dx and dr have that type.
"""

from __future__ import annotations

import torch
from torch import Tensor

PIXELS = (0, 2, 3)


def _wide(values: Tensor) -> Tensor:
    """(c,) over (n, c, h, w)."""
    return values[:, None, None]


def forward(
    x: Tensor, shortcut: Tensor | None, weight: Tensor, bias: Tensor, running: tuple[Tensor, Tensor], momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(y, mean, 1 / sqrt(var + eps)); the running mean and variance (unbiased) are updated in place."""
    exact = x.float()
    var, mean = torch.var_mean(exact, PIXELS, correction=0)
    scale, count = torch.rsqrt(var + eps), x.numel() // x.shape[1]
    y = (exact - _wide(mean)) * _wide(scale * weight) + _wide(bias)
    y = y if shortcut is None else y + shortcut
    running[0].lerp_(mean, momentum)
    running[1].lerp_(var * (count / (count - 1)), momentum)
    return y.relu().to(x.dtype), mean, scale


def backward(
    g: Tensor, x: Tensor, y: Tensor, weight: Tensor, mean: Tensor, scale: Tensor, wants_shortcut: bool
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """(dx, dr or None, dw, db)."""
    passed = torch.where(y > 0, g, torch.zeros_like(g))
    exact, unit = passed.float(), (x.float() - _wide(mean)) * _wide(scale)
    count = x.numel() // x.shape[1]
    db, dw = exact.sum(PIXELS), (exact * unit).sum(PIXELS)
    dx = _wide(weight * scale) * (exact - _wide(db / count) - unit * _wide(dw / count))
    return dx.to(x.dtype), passed if wants_shortcut else None, dw, db
