"""What the processor's core can do at most: fused multiply-adds with nothing to load.

A module of its own, because what it holds is compiled when it is imported, and only `lotterybench speed` needs it.
"""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from benchmark.training.kernels.cache import compiled
from benchmark.training.kernels.vector import add, fma, spread, total, zeros

OPERATIONS = 12 * 8 * 2  # of one round: sums that do not wait for each other, lanes, a product and a sum each


@compiled("float32(int64)")
def fused_multiply_adds(rounds):
    """Run so many rounds of `OPERATIONS`. The sum is returned so that no compiler leaves it out."""
    x = spread(zeros(8), np.float32(0.5))
    a = b = c = d = e = f = g = h = i = j = k = m = zeros(8)
    for _ in range(rounds):
        a, b, c, d = fma(x, x, a), fma(x, x, b), fma(x, x, c), fma(x, x, d)
        e, f, g, h = fma(x, x, e), fma(x, x, f), fma(x, x, g), fma(x, x, h)
        i, j, k, m = fma(x, x, i), fma(x, x, j), fma(x, x, k), fma(x, x, m)
    whole = add(add(add(a, b), add(c, d)), add(add(e, f), add(g, h)))
    return total(add(whole, add(add(i, j), add(k, m))))
