"""The three products of a convolutional layer of dense weights, and what `sparse_convolutions` has in common with them.

Square kernels move over images by one pixel without padding, so there is nothing to multiply but surviving weights.
Images of a few examples side by side are an array [channel][row][column][lane], pixels one after another: what one tap
(channel, row and column of a filter) multiplies for a whole row of outputs is one stretch of columns * lanes numbers.
So each product of a fully connected layer (see `products`) has its like here, with a tap's first pixel in the place of
an input unit, once for each row of outputs:

    forward     z[f, r, c] = b[f] + sum over taps (i, u, v) of w[f, i, u, v] * x[i, r + u, c + v]
    backward    e[i, y, x] = sum over filters f and taps (u, v) of w[f, i, u, v] * d[f, y - u, x - v]
    gradient    g[f, i, u, v] = sum over r, c and examples of d[f, r, c] * x[i, r + u, c + v]

The order of sums: taps by rising channel, row and column, forward; filters, then rows and columns of taps, backward.
Gradients add groups of examples one after another (see `image_layout.GROUP`), and of a group row after row of outputs,
each in eight interleaved sums over its columns * lanes numbers. Both forms keep it and have the same bits.

Dense weights lie as those of fully connected layers: tap k of filter f is number k * 4 + f % 4 of block f // 4. Indices
of pixels are in images of one lane: times `lanes` they are places.
"""

# mypy: ignore-errors
from __future__ import annotations

from benchmark.training.kernels.cache import inner
from benchmark.training.kernels.vector import add, fma, fmas, load, scalar, spread, store, zeros

PANEL = 100  # taps of one pass forward: their weights and what they read stay in the first-level cache
FILTERS = 8  # filters of one pass backward, likewise


@inner
def biases(out, o, p, bias, filters, count):
    """out[f, :count] = the filter's bias."""
    for f in range(filters):
        value = spread(zeros(8), scalar(p, bias + f))
        for t in range(o + f * count, o + (f + 1) * count, 8):
            store(out, t, value)


@inner
def _forward_block(like, out, o, step, w, at, x, first, index, tap, count, lanes):
    """out[4 filters, lanes of `like`] += w[4 filters, taps] x[taps, lanes], held in registers."""
    a0 = load(like, out, o)
    a1 = load(like, out, o + step)
    a2 = load(like, out, o + 2 * step)
    a3 = load(like, out, o + 3 * step)
    for k in range(tap, tap + count):
        v = load(like, x, first + scalar(index, k) * lanes)
        a0 = fmas(scalar(w, at), v, a0)
        a1 = fmas(scalar(w, at + 1), v, a1)
        a2 = fmas(scalar(w, at + 2), v, a2)
        a3 = fmas(scalar(w, at + 3), v, a3)
        at += 4
    store(out, o, a0)
    store(out, o + step, a1)
    store(out, o + 2 * step, a2)
    store(out, o + 3 * step, a3)


@inner
def _forward_filters(like, out, o, step, filters, w, at, x, first, index, tap, count, taps, lanes):
    for f in range(0, filters, 4):
        _forward_block(like, out, o + f * step, step, w, at + f * taps, x, first, index, tap, count, lanes)


@inner
def dense_forward(out, o, filters, rows, columns, w, at, x, first, width, index, tap, taps, lanes):
    """out[filters, rows, columns] += w x; filters is a multiple of 4. index[tap:]: each tap's first pixel."""
    row = columns * lanes
    step = rows * row
    for k in range(0, taps, PANEL):
        count = min(PANEL, taps - k)
        for r in range(rows):
            t, z, y = 0, o + r * row, first + r * width * lanes
            a, b = at + k * 4, tap + k
            while row - t >= 24:
                _forward_filters(zeros(24), out, z + t, step, filters, w, a, x, y + t, index, b, count, taps, lanes)
                t += 24
            if row - t == 16:
                _forward_filters(zeros(16), out, z + t, step, filters, w, a, x, y + t, index, b, count, taps, lanes)
            elif row - t == 8:
                _forward_filters(zeros(8), out, z + t, step, filters, w, a, x, y + t, index, b, count, taps, lanes)


@inner
def _backward_block(like, e, o, step, w, at, taps, size, d, first, plane, row, f0, f1, u0, u1, v0, v1, lanes):
    """e[4 channels, lanes of `like`] += what filters f0 to f1 - 1 send to one pixel by taps u0.. and v0.. ."""
    a0 = load(like, e, o)
    a1 = load(like, e, o + step)
    a2 = load(like, e, o + 2 * step)
    a3 = load(like, e, o + 3 * step)
    channel = 4 * size * size
    for f in range(f0, f1):
        block = at + f // 4 * 4 * taps + f % 4
        for u in range(u0, u1):
            k = block + (u * size + v0) * 4
            q = first + f * plane - u * row - v0 * lanes
            for _ in range(v0, v1):
                x = load(like, d, q)
                a0 = fmas(scalar(w, k), x, a0)
                a1 = fmas(scalar(w, k + channel), x, a1)
                a2 = fmas(scalar(w, k + 2 * channel), x, a2)
                a3 = fmas(scalar(w, k + 3 * channel), x, a3)
                k += 4
                q -= lanes
    store(e, o, a0)
    store(e, o + step, a1)
    store(e, o + 2 * step, a2)
    store(e, o + 3 * step, a3)


@inner
def _backward_pixels(like, e, o, channels, height, width, w, at, taps, size, d, first, f0, f1, rows, columns, lanes):
    row = columns * lanes
    for i in range(0, channels, 4):
        for y in range(height):
            u0, u1 = max(0, y - rows + 1), min(size, y + 1)
            for x in range(width):
                v0, v1 = max(0, x - columns + 1), min(size, x + 1)
                _backward_block(
                    like, e, o + ((i * height + y) * width + x) * lanes, height * width * lanes, w,
                    at + i * size * size * 4, taps, size, d, first + (y * columns + x) * lanes, rows * row, row,
                    f0, f1, u0, u1, v0, v1, lanes,
                )  # fmt: skip


@inner
def dense_backward(e, o, channels, height, width, w, at, taps, size, d, first, filters, rows, columns, lanes):
    """e[channels, height, width] += w' d. Channels are taken by four: e has room for that, and w can be read as far."""
    for f in range(0, filters, FILTERS):
        last, t = min(filters, f + FILTERS), 0
        while lanes - t >= 24:
            _backward_pixels(
                zeros(24), e, o + t, channels, height, width, w, at, taps, size, d, first + t, f, last, rows, columns,
                lanes,
            )  # fmt: skip
            t += 24
        if lanes - t == 16:
            _backward_pixels(
                zeros(16), e, o + t, channels, height, width, w, at, taps, size, d, first + t, f, last, rows, columns,
                lanes,
            )  # fmt: skip
        elif lanes - t == 8:
            _backward_pixels(
                zeros(8), e, o + t, channels, height, width, w, at, taps, size, d, first + t, f, last, rows, columns,
                lanes,
            )  # fmt: skip


@inner
def _sum(sums, at):
    return load(zeros(8), sums, at)


@inner
def store4(sums, s, a, b, c, d):
    """Four sums of eight lanes, one after another."""
    store(sums, s, a)
    store(sums, s + 8, b)
    store(sums, s + 16, c)
    store(sums, s + 24, d)


@inner
def _three_taps(sums, s, d, first, step, row, x, y, width, index, tap, r0, r1, lanes):
    """sums[3 taps, 4 filters] += their products over output rows r0 to r1 - 1."""
    like = zeros(8)
    a0, a1, a2, a3 = _sum(sums, s), _sum(sums, s + 8), _sum(sums, s + 16), _sum(sums, s + 24)
    b0, b1, b2, b3 = _sum(sums, s + 32), _sum(sums, s + 40), _sum(sums, s + 48), _sum(sums, s + 56)
    c0, c1, c2, c3 = _sum(sums, s + 64), _sum(sums, s + 72), _sum(sums, s + 80), _sum(sums, s + 88)
    x0 = y + scalar(index, tap) * lanes
    x1 = y + scalar(index, tap + 1) * lanes
    x2 = y + scalar(index, tap + 2) * lanes
    for r in range(r0, r1):
        at, own = first + r * row, r * width * lanes
        for t in range(0, row, 8):
            u, v, w = load(like, x, x0 + own + t), load(like, x, x1 + own + t), load(like, x, x2 + own + t)
            m = load(like, d, at + t)
            a0, b0, c0 = fma(m, u, a0), fma(m, v, b0), fma(m, w, c0)
            m = load(like, d, at + step + t)
            a1, b1, c1 = fma(m, u, a1), fma(m, v, b1), fma(m, w, c1)
            m = load(like, d, at + 2 * step + t)
            a2, b2, c2 = fma(m, u, a2), fma(m, v, b2), fma(m, w, c2)
            m = load(like, d, at + 3 * step + t)
            a3, b3, c3 = fma(m, u, a3), fma(m, v, b3), fma(m, w, c3)
    store4(sums, s, a0, a1, a2, a3)
    store4(sums, s + 32, b0, b1, b2, b3)
    store4(sums, s + 64, c0, c1, c2, c3)


@inner
def _one_tap(sums, s, d, first, step, row, x, y, width, index, tap, r0, r1, lanes):
    like = zeros(8)
    a0, a1, a2, a3 = _sum(sums, s), _sum(sums, s + 8), _sum(sums, s + 16), _sum(sums, s + 24)
    x0 = y + scalar(index, tap) * lanes
    for r in range(r0, r1):
        at, own = first + r * row, x0 + r * width * lanes
        for t in range(0, row, 8):
            u = load(like, x, own + t)
            a0, a1 = fma(load(like, d, at + t), u, a0), fma(load(like, d, at + step + t), u, a1)
            a2 = fma(load(like, d, at + 2 * step + t), u, a2)
            a3 = fma(load(like, d, at + 3 * step + t), u, a3)
    store4(sums, s, a0, a1, a2, a3)


@inner
def dense_gradient(sums, s, d, first, filters, rows, columns, x, y, channels, width, size, index, tap, lanes):
    """sums[s:], eight for each weight in the places of dense ones, += d x' of a group; filters is a multiple of 4.

    Half of the rows at a time: a channel's pixels and four filters' errors then stay in the first-level cache.
    """
    square = size * size
    taps, row, half = channels * square, columns * lanes, (rows + 1) // 2
    for r in range(0, rows, half):
        last = min(rows, r + half)
        for i in range(channels):
            for f in range(0, filters, 4):
                at, k = first + f * rows * row, i * square
                while k + 3 <= (i + 1) * square:
                    place = s + (f * taps + k * 4) * 8
                    _three_taps(sums, place, d, at, rows * row, row, x, y, width, index, tap + k, r, last, lanes)
                    k += 3
                while k < (i + 1) * square:
                    place = s + (f * taps + k * 4) * 8
                    _one_tap(sums, place, d, at, rows * row, row, x, y, width, index, tap + k, r, last, lanes)
                    k += 1


@inner
def bias_gradient(sums, s, d, first, filters, count):
    """sums[s:], eight for each filter, += the sum of its errors."""
    for f in range(filters):
        one = _sum(sums, s + 8 * f)
        for t in range(first + f * count, first + (f + 1) * count, 8):
            one = add(one, load(zeros(8), d, t))
        store(sums, s + 8 * f, one)
