"""Named random streams: every draw comes from a generator derived from (seed, purpose).

All methods of a protocol that share a seed therefore share initial weights, split and example order,
so their comparisons are paired, and no draw of one replica can disturb another.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor


def derived_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed, a function of `seed` and the words of `purpose` only."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *purpose: str | int) -> torch.Generator:
    """A fresh CPU generator for one purpose, e.g. `stream(3, "order", epoch)`."""
    import torch

    return torch.Generator().manual_seed(derived_seed(seed, *purpose))


def portable_normals(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard normal float32 numbers, the same bits on every machine.

    `torch.randn` takes its logarithms and cosines from vector libraries, so its last bits follow the instruction set.
    Here: Marsaglia's polar method (1964). Of points (u, v) in the square [-1, 1)^2, those with 0 < s = u^2 + v^2 < 1
    give two numbers each, u f and v f with f = sqrt(-2 log(s) / s). Uniform numbers are integers times a power of two,
    and the rest is float64 arithmetic and square roots, which IEEE 754 defines, with a logarithm made of these.
    """
    import numpy as np
    import torch

    count = math.prod(shape)
    found = np.empty(0)
    while len(found) < count:
        pairs = (count - len(found)) * 2 // 3 + 16
        u, v = (torch.rand((pairs, 2), generator=generator, dtype=torch.float64) * 2 - 1).numpy().T
        s = u * u + v * v
        inside = (s > 0) & (s < 1)
        u, v, s = u[inside], v[inside], s[inside]
        factor = np.sqrt(-2.0 * _log(s) / s)
        found = np.concatenate([found, np.stack([u * factor, v * factor], 1).ravel()])
    return torch.from_numpy(found[:count].astype(np.float32)).reshape(shape)


def _log(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithms of positive normal numbers, to about 1e-15, by exact operations in a fixed order.

    x = m 2^e with 1/sqrt(2) <= m < sqrt(2), and log m = 2 (w + w^3 / 3 + w^5 / 5 + ...) with w = (m - 1) / (m + 1).
    """
    import numpy as np

    m, e = np.frexp(x)
    small = m < 0.7071067811865476
    m, e = np.where(small, 2 * m, m), e - small
    w = (m - 1) / (m + 1)
    square = w * w
    series = np.full_like(w, 1 / 21)
    for k in range(19, 0, -2):
        series = series * square + 1 / k
    logarithms: NDArray[np.float64] = e * 0.6931471805599453 + 2 * (w * series)
    return logarithms
