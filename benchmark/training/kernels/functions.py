"""Exponential, logarithm and the losses that are made of them, from exact operations alone.

C libraries and vector libraries differ in the last bit of `exp` and `log`, and choose among implementations by what the
processor can do. These are sums of series in a fixed order; they need not be correctly rounded, only always the same.
"""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from benchmark.training.kernels.cache import inner
from benchmark.training.kernels.vector import (
    add,
    at_least,
    bits,
    div,
    fma,
    from_bits,
    larger,
    load,
    mul,
    power_of_two,
    scalar,
    spread,
    store,
    sub,
    zeros,
)

F32 = np.float32
LOG2_E = F32(1.4426950408889634)
MAGIC = F32(12582912.0)  # 1.5 * 2**23: adding it leaves the nearest integer in the low bits
LN2_HIGH = F32(0.693145751953125)  # 16 bits of ln 2: its products with integers below 256 are exact
LN2_LOW = F32(0.6931471805599453 - 0.693145751953125)
LEAST = F32(-87.0)  # exp of anything less counts as exp(-87) = 1.6e-38, the last that is no subnormal number
C2, C3, C4, C5, C6, C7 = F32(1 / 2), F32(1 / 6), F32(1 / 24), F32(1 / 120), F32(1 / 720), F32(1 / 5040)
LN2, SQRT_2 = 0.6931471805599453, 1.4142135623730951


@inner
def exp(like, x):
    """exp(x) for x <= 0, to about 1e-7 of it; nan stays nan.

    With n the integer nearest to x / ln 2 and r = x - n ln 2, |r| <= ln 2 / 2: exp(x) = 2**n exp(r), and the Taylor
    series of exp(r) ends with r**7 / 7!, beyond which less than 6e-9 is left.
    """
    x = at_least(x, spread(like, LEAST))
    t = fma(x, spread(like, LOG2_E), spread(like, MAGIC))
    n = sub(t, spread(like, MAGIC))
    r = fma(n, spread(like, -LN2_HIGH), x)
    r = fma(n, spread(like, -LN2_LOW), r)
    p = fma(spread(like, C7), r, spread(like, C6))
    p = fma(p, r, spread(like, C5))
    p = fma(p, r, spread(like, C4))
    p = fma(p, r, spread(like, C3))
    p = fma(p, r, spread(like, C2))
    p = fma(p, r, spread(like, F32(1.0)))
    p = fma(p, r, spread(like, F32(1.0)))
    return mul(p, power_of_two(t))


@inner
def log(x):
    """The natural logarithm of a finite float64 >= 1, to about 1e-15; of anything else, nan.

    x = 2**e m with m in [1/sqrt 2, sqrt 2), and log m = 2 artanh(u) = 2 (u + u**3 / 3 + u**5 / 5 + ...) for
    u = (m - 1) / (m + 1), |u| < 0.172; terms up to u**21.
    """
    if not 1.0 <= x < np.inf:
        return np.nan
    word = bits(x)
    exponent = (word >> 52) - 1023
    m = from_bits((word & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000)
    if m > SQRT_2:
        m = m * 0.5
        exponent += 1
    u = (m - 1.0) / (m + 1.0)
    square = u * u
    series = 1.0 / 21.0
    for k in range(19, 0, -2):
        series = series * square + 1.0 / k
    return exponent * LN2 + 2.0 * (u * series)


@inner
def softmax_gradient(z, at, classes, lanes, labels, order, first, count, d, to):
    """d = (softmax(z) - onehot(label)) / count, the gradient of the mean cross-entropy; 0 in lanes beyond `count`.

    Examples are those of order[first: first + count]. Classes are added upwards, after subtracting the largest logit.
    """
    like = zeros(8)
    share = F32(1.0) / F32(count)
    for t in range(0, lanes, 8):
        most = load(like, z, at + t)
        for c in range(1, classes):
            most = larger(most, load(like, z, at + c * lanes + t))
        whole = zeros(8)
        for c in range(classes):
            e = exp(like, sub(load(like, z, at + c * lanes + t), most))
            whole = add(whole, e)
            store(d, to + c * lanes + t, e)
        factor = div(spread(like, share), whole)
        for c in range(classes):
            store(d, to + c * lanes + t, mul(load(like, d, to + c * lanes + t), factor))
    for b in range(count):
        d[to + labels[order[first + b]] * lanes + b] -= share
    for c in range(classes):
        for b in range(count, lanes):
            d[to + c * lanes + b] = F32(0.0)


@inner
def square_gradient(z, at, outputs, lanes, targets, order, first, count, d, to):
    """d = 2 (z - target) / (count * outputs), the gradient of the mean squared error. targets: [example][output]."""
    share = F32(2.0) / F32(count * outputs)
    for c in range(outputs):
        for b in range(lanes):
            d[to + c * lanes + b] = F32(0.0)
        for b in range(count):
            target = targets[order[first + b] * outputs + c]
            d[to + c * lanes + b] = (scalar(z, at + c * lanes + b) - target) * share


@inner
def cross_entropy(z, at, classes, lanes, labels, order, first, count, work, to):
    """(sum of the cross-entropies in nats, right answers) of `count` examples; of equal logits the first one counts.

    log sum exp(z - most) - (z[label] - most): exponentials in float32 as in training, the rest in float64.
    """
    like = zeros(8)
    for t in range(0, lanes, 8):
        most = load(like, z, at + t)
        for c in range(1, classes):
            most = larger(most, load(like, z, at + c * lanes + t))
        store(work, to + t, most)
        whole = zeros(8)
        for c in range(classes):
            whole = add(whole, exp(like, sub(load(like, z, at + c * lanes + t), most)))
        store(work, to + lanes + t, whole)
    loss, right = 0.0, 0
    for b in range(count):
        label, most = labels[order[first + b]], scalar(work, to + b)
        loss += log(np.float64(scalar(work, to + lanes + b))) - (
            np.float64(scalar(z, at + label * lanes + b)) - np.float64(most)
        )
        best = 0
        while best < classes - 1 and scalar(z, at + best * lanes + b) != most:
            best += 1
        right += best == label
    return loss, right


@inner
def squared_error(z, at, outputs, lanes, targets, order, first, count):
    """Sum over examples of the mean squared error of their outputs."""
    loss = 0.0
    for b in range(count):
        own = 0.0
        for c in range(outputs):
            error = np.float64(scalar(z, at + c * lanes + b)) - np.float64(targets[order[first + b] * outputs + c])
            own += error * error
        loss += own / outputs
    return loss
