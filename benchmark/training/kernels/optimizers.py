"""One step of an optimizer on a stretch of parameters, in one pass over memory.

For a gradient g of parameters p, after masking and with weight decay, g <- g * mask + decay * p:

    SGD             p <- p - rate * g
    with momentum   m <- momentum * m + g;   p <- p - rate * m   (Nesterov: p <- p - rate * (g + momentum * m))
    Adam            m <- m + (1 - b1) (g - m);   v <- b2 * v + (1 - b2) g^2
                    p <- p - rate / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + epsilon)

These are torch's formulas. b1^t and b2^t are float64 products that grow by one factor an update and are part of the
state: computed anew after a resumption they would have other last bits.
"""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from benchmark.training.kernels.cache import inner
from benchmark.training.kernels.vector import add, div, fma, load, mul, spread, sqrt, store, sub, zeros

F32 = np.float32
SGD, MOMENTUM, NESTEROV, ADAM = 0, 1, 2, 3
# Places in `numbers`, the float64 settings of an update.
RATE, DECAY, FIRST, SECOND, EPSILON, POWER_1, POWER_2 = range(7)


@inner
def advance(kind, numbers):
    """Count an update in Adam's bias corrections. `numbers`: FIRST and SECOND are b1 (or the momentum) and b2."""
    if kind == ADAM:
        numbers[POWER_1] *= numbers[FIRST]
        numbers[POWER_2] *= numbers[SECOND]


@inner
def update(kind, numbers, p, m, v, at, g, g_at, count, mask, masked):
    """Move p[at: at + count] by gradients g[g_at: g_at + count]; count is a multiple of 8. `masked`: whether g is to
    be multiplied by mask[at: at + count], of ones and zeros."""
    like = zeros(8)
    decay = spread(like, F32(numbers[DECAY]))
    decayed = numbers[DECAY] != 0.0
    if kind == ADAM:
        rate = spread(like, F32(numbers[RATE] / (1.0 - numbers[POWER_1])))
        root = spread(like, F32(np.sqrt(1.0 - numbers[POWER_2])))
    else:
        rate = spread(like, F32(numbers[RATE]))
        root = rate
    first = spread(like, F32(1.0 - numbers[FIRST]))
    second, third = spread(like, F32(numbers[SECOND])), spread(like, F32(1.0 - numbers[SECOND]))
    momentum, epsilon = spread(like, F32(numbers[FIRST])), spread(like, F32(numbers[EPSILON]))
    for k in range(0, count, 8):
        i = at + k
        old, grad = load(like, p, i), load(like, g, g_at + k)
        if masked:
            grad = mul(grad, load(like, mask, i))
        if decayed:
            grad = fma(decay, old, grad)
        if kind == ADAM:
            mean = load(like, m, i)
            mean = fma(first, sub(grad, mean), mean)
            store(m, i, mean)
            square = fma(second, load(like, v, i), mul(third, mul(grad, grad)))
            store(v, i, square)
            step = div(mean, add(div(sqrt(square), root), epsilon))
        elif kind == SGD:
            step = grad
        else:
            step = fma(momentum, load(like, m, i), grad)
            store(m, i, step)
            if kind == NESTEROV:
                step = fma(momentum, step, grad)
        store(p, i, sub(old, mul(rate, step)))
