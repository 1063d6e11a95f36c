"""The products of a convolutional layer by surviving weights, and max-pools. See `dense_convolutions`, whose sums have
the same order and the same bits.

Forward a row of outputs is held in registers while the taps that a filter has left are added; backward each weight adds
a row of errors to a row of pixels, which stay in the first-level cache; a gradient is a dot product of such rows, eight
weights of a filter at a time.
"""

# mypy: ignore-errors
from __future__ import annotations

from benchmark.training.kernels.cache import inner
from benchmark.training.kernels.dense_convolutions import store4
from benchmark.training.kernels.vector import (
    fma,
    fmas,
    larger_or_nan,
    load,
    relu,
    scalar,
    store,
    unless_equal,
    where_equal,
    where_positive,
    zeros,
)


@inner
def _forward(like, out, o, step, filters, w, at, x, first, index, start, tap, lanes):
    for f in range(filters):
        k, end = scalar(index, start + f), scalar(index, start + f + 1)
        if k < end:
            a = load(like, out, o + f * step)
            while k < end:
                a = fmas(scalar(w, at + k), load(like, x, first + scalar(index, tap + k) * lanes), a)
                k += 1
            store(out, o + f * step, a)


@inner
def sparse_forward(out, o, filters, rows, columns, w, at, x, first, width, index, start, tap, lanes):
    """out[filters, rows, columns] += w x over surviving weights: filter f's are w[at + k] for k from index[start + f]
    up to the next start, their first pixels index[tap + k]; taps rise within a filter."""
    row = columns * lanes
    step = rows * row
    for r in range(rows):
        t, z, y = 0, o + r * row, first + r * width * lanes
        while row - t >= 96:
            _forward(zeros(96), out, z + t, step, filters, w, at, x, y + t, index, start, tap, lanes)
            t += 96
        while row - t >= 32:
            _forward(zeros(32), out, z + t, step, filters, w, at, x, y + t, index, start, tap, lanes)
            t += 32
        while row - t >= 8:
            _forward(zeros(8), out, z + t, step, filters, w, at, x, y + t, index, start, tap, lanes)
            t += 8


@inner
def _add_row(weight, e, q, d, p, count):
    t = 0
    while count - t >= 32:
        store(e, q + t, fmas(weight, load(zeros(32), d, p + t), load(zeros(32), e, q + t)))
        t += 32
    while count - t >= 8:
        store(e, q + t, fmas(weight, load(zeros(8), d, p + t), load(zeros(8), e, q + t)))
        t += 8


@inner
def sparse_backward(
    e, o, channels, height, width, w, at, d, first, rows, columns, index, start, place, filter_, down, right, lanes
):
    """e[channels, height, width] += w' d over surviving weights, channel by channel from index[start + i] on: the k-th
    is w[at + index[place + k]], of a filter, a row and a column of its kernel in index[filter_ + k], [down + k] and
    [right + k]; these rise within a channel."""
    row = columns * lanes
    for i in range(channels):
        for y in range(height):
            pixels = o + (i * height + y) * width * lanes
            for k in range(scalar(index, start + i), scalar(index, start + i + 1)):
                r = y - scalar(index, down + k)
                if 0 <= r < rows:
                    weight = scalar(w, at + scalar(index, place + k))
                    errors = first + (scalar(index, filter_ + k) * rows + r) * row
                    _add_row(weight, e, pixels + scalar(index, right + k) * lanes, d, errors, row)


@inner
def sparse_gradient(sums, s, d, first, filters, rows, columns, x, y, width, index, start, tap, lanes):
    """sums[s:], eight for each surviving weight, += d x' of a group."""
    like = zeros(8)
    row = columns * lanes
    for f in range(filters):
        k, end, errors = scalar(index, start + f), scalar(index, start + f + 1), first + f * rows * row
        while k + 8 <= end:
            g = s + 8 * k
            a0, a1 = load(like, sums, g), load(like, sums, g + 8)
            a2, a3 = load(like, sums, g + 16), load(like, sums, g + 24)
            a4, a5 = load(like, sums, g + 32), load(like, sums, g + 40)
            a6, a7 = load(like, sums, g + 48), load(like, sums, g + 56)
            x0, x1 = y + scalar(index, tap + k) * lanes, y + scalar(index, tap + k + 1) * lanes
            x2, x3 = y + scalar(index, tap + k + 2) * lanes, y + scalar(index, tap + k + 3) * lanes
            x4, x5 = y + scalar(index, tap + k + 4) * lanes, y + scalar(index, tap + k + 5) * lanes
            x6, x7 = y + scalar(index, tap + k + 6) * lanes, y + scalar(index, tap + k + 7) * lanes
            for r in range(rows):
                at, own = errors + r * row, r * width * lanes
                for t in range(0, row, 8):
                    v, q = load(like, d, at + t), own + t
                    a0, a1 = fma(v, load(like, x, x0 + q), a0), fma(v, load(like, x, x1 + q), a1)
                    a2, a3 = fma(v, load(like, x, x2 + q), a2), fma(v, load(like, x, x3 + q), a3)
                    a4, a5 = fma(v, load(like, x, x4 + q), a4), fma(v, load(like, x, x5 + q), a5)
                    a6, a7 = fma(v, load(like, x, x6 + q), a6), fma(v, load(like, x, x7 + q), a7)
            store4(sums, g, a0, a1, a2, a3)
            store4(sums, g + 32, a4, a5, a6, a7)
            k += 8
        while k < end:
            a = load(like, sums, s + 8 * k)
            pixels = y + scalar(index, tap + k) * lanes
            for r in range(rows):
                for t in range(0, row, 8):
                    at = pixels + r * width * lanes + t
                    a = fma(load(like, d, errors + r * row + t), load(like, x, at), a)
            store(sums, s + 8 * k, a)
            k += 1


@inner
def pool(out, o, stride, x, first, channels, rows, columns, lanes, rectified):
    """The largest of each 2x2 pixels, in their order, then a ReLU if `rectified`; an odd last row or column is left
    out. Pooled pixels lie `stride` apart."""
    like = zeros(8)
    for i in range(channels):
        for r in range(rows // 2):
            for c in range(columns // 2):
                a = first + ((i * rows + 2 * r) * columns + 2 * c) * lanes
                b = a + columns * lanes
                to = o + ((i * (rows // 2) + r) * (columns // 2) + c) * stride
                for t in range(0, lanes, 8):
                    most = larger_or_nan(load(like, x, a + t), load(like, x, a + lanes + t))
                    most = larger_or_nan(most, load(like, x, b + t))
                    most = larger_or_nan(most, load(like, x, b + lanes + t))
                    store(out, to + t, relu(most) if rectified else most)


@inner
def _share(x, at, most, left):
    """Of four pixels that were pooled the first that equals the largest gets the error; what is left for the next."""
    value = load(zeros(8), x, at)
    store(x, at, where_equal(value, most, left))
    return unless_equal(value, most, left)


@inner
def unpool(x, first, y, o, e, error, stride, channels, rows, columns, lanes, rectified):
    """Gradients with respect to the pixels x, in their place, from the pooled ones y and their gradients e."""
    like = zeros(8)
    if rows % 2 or columns % 2:
        for i in range(channels):
            for r in range(rows):
                for c in range(columns):
                    if r == rows // 2 * 2 or c == columns // 2 * 2:
                        at = first + ((i * rows + r) * columns + c) * lanes
                        for t in range(0, lanes, 8):
                            store(x, at + t, zeros(8))
    for i in range(channels):
        for r in range(rows // 2):
            for c in range(columns // 2):
                a = first + ((i * rows + 2 * r) * columns + 2 * c) * lanes
                b = a + columns * lanes
                pooled = ((i * (rows // 2) + r) * (columns // 2) + c) * stride
                for t in range(0, lanes, 8):
                    most, left = load(like, y, o + pooled + t), load(like, e, error + pooled + t)
                    if rectified:  # where the ReLU gave zero nothing goes back, so it does not matter which pixel
                        left = where_positive(most, left)
                    left = _share(x, a + t, most, left)
                    left = _share(x, a + lanes + t, most, left)
                    left = _share(x, b + t, most, left)
                    _share(x, b + lanes + t, most, left)
