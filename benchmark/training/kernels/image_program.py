"""Training and evaluation of networks with convolutions, compiled; their linear layers are those of `program`.

Modules that are imported compile, so these are in one of their own: fully connected networks need not wait for them.
"""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from benchmark.training.kernels import program as p
from benchmark.training.kernels.cache import compiled, inner
from benchmark.training.kernels.dense_convolutions import (
    bias_gradient,
    biases,
    dense_backward,
    dense_forward,
    dense_gradient,
)
from benchmark.training.kernels.functions import cross_entropy, softmax_gradient
from benchmark.training.kernels.image_layout import (
    BIAS,
    BIAS_MASKED,
    BIAS_SUMS,
    BLOCKED,
    CHANNEL_START,
    CHANNELS,
    COLUMNS,
    DOWN,
    ERROR,
    FILTER,
    FILTERS,
    GROUP,
    HEIGHT,
    IMAGE,
    MASKED,
    NEXT,
    OUTPUT,
    PLACE,
    RELU,
    RIGHT,
    ROWS,
    SIZE,
    SPARSE,
    START,
    SUMS,
    TAP,
    TAPS,
    WEIGHT,
    WEIGHTS,
    WIDTH,
)
from benchmark.training.kernels.optimizers import RATE, advance, update
from benchmark.training.kernels.program import errors, forward, gather, learn
from benchmark.training.kernels.sparse_convolutions import (
    pool,
    sparse_backward,
    sparse_forward,
    sparse_gradient,
    unpool,
)
from benchmark.training.kernels.vector import enter_float_mode, leave_float_mode, load, store, total, zeros


@inner
def _images_forward(front, w, index, work, group, count, lanes):
    """From IMAGE of the first convolution to a group's features in work[feature * lanes + group * GROUP + ...]."""
    last = front.shape[0] - 1
    for layer in range(last + 1):
        row, apart = front[layer], group * front[layer, NEXT]
        x, z = row[IMAGE] + apart, row[OUTPUT] + apart
        rows, columns, width = row[ROWS], row[COLUMNS], row[WIDTH]
        filters = row[FILTERS] if row[SPARSE] else row[BLOCKED]
        biases(work, z, w, row[BIAS], row[FILTERS], rows * columns * count)
        if row[SPARSE]:
            sparse_forward(
                work, z, filters, rows, columns, w, row[WEIGHT], work, x, width, index, row[START], row[TAP], count
            )
        else:
            for i in range(z + row[FILTERS] * rows * columns * count, z + filters * rows * columns * count):
                work[i] = np.float32(0.0)
            dense_forward(
                work, z, filters, rows, columns, w, row[WEIGHT], work, x, width, index, row[TAP], row[TAPS], count
            )
        if layer < last:
            to, stride = front[layer + 1, IMAGE] + group * front[layer + 1, NEXT], count
        else:
            to, stride = group * GROUP, lanes
        pool(work, to, stride, work, z, row[FILTERS], rows, columns, count, row[RELU] == 1)


@inner
def _forward(
    front, table, w, index, work, data, codes, scale, width, used, features, order, first, count, lanes
):  # fmt: skip
    """From the examples order[first:], `count` of them, to the outputs of the last layer; other lanes read zeros."""
    for group in range((lanes + GROUP - 1) // GROUP):
        done = group * GROUP
        side, at = min(GROUP, lanes - done), front[0, IMAGE] + group * front[0, NEXT]
        left = max(0, min(side, count - done))
        gather(work, at, index, used, features, data, codes, scale, width, order, first + done, left, side)
        _images_forward(front, w, index, work, group, side, lanes)
    forward(table, 1, w, index, work, lanes)


@inner
def _images_backward(front, w, index, work, sums, error, group, count, lanes):
    """Sums of gradients of a group, from the gradients of its features at work[error + feature * lanes]."""
    last = front.shape[0] - 1
    for layer in range(last, -1, -1):
        row, apart = front[layer], group * front[layer, NEXT]
        x, z = row[IMAGE] + apart, row[OUTPUT] + apart
        rows, columns, height, width = row[ROWS], row[COLUMNS], row[HEIGHT], row[WIDTH]
        filters, channels = row[FILTERS], row[CHANNELS]
        if layer == last:
            pooled, e, stride = group * GROUP, error, lanes
        else:
            pooled, e = front[layer + 1, IMAGE] + group * front[layer + 1, NEXT], front[layer + 1, ERROR]
            stride = count
        unpool(work, z, work, pooled, work, e, stride, filters, rows, columns, count, row[RELU] == 1)
        bias_gradient(sums, row[BIAS_SUMS], work, z, filters, rows * columns * count)
        if layer > 0:
            below = row[ERROR]
            for i in range(below, below + (channels + 3) * height * width * count, 8):
                store(work, i, zeros(8))
        if row[SPARSE]:
            sparse_gradient(
                sums, row[SUMS], work, z, filters, rows, columns, work, x, width, index, row[START], row[TAP], count
            )
            if layer > 0:
                sparse_backward(
                    work, below, channels, height, width, w, row[WEIGHT], work, z, rows, columns, index,
                    row[CHANNEL_START], row[PLACE], row[FILTER], row[DOWN], row[RIGHT], count,
                )  # fmt: skip
        else:
            dense_gradient(
                sums, row[SUMS], work, z, row[BLOCKED], rows, columns, work, x, channels, width, row[SIZE], index,
                row[TAP], count,
            )  # fmt: skip
            if layer > 0:
                dense_backward(
                    work, below, channels, height, width, w, row[WEIGHT], row[TAPS], row[SIZE], work, z, filters,
                    rows, columns, count,
                )  # fmt: skip


@inner
def _learn_filters(row, kind, numbers, w, m, v, mask, g, sums):
    """Gradients of a convolution's parameters from their sums, and the optimizer's step."""
    for k in range(row[WEIGHTS]):
        g[k] = total(load(zeros(8), sums, row[SUMS] + 8 * k))
    update(kind, numbers, w, m, v, row[WEIGHT], g, 0, row[WEIGHTS], mask, row[MASKED] == 1)
    filters = row[FILTERS]
    for i in range(filters, filters + 8):
        g[i] = np.float32(0.0)
    for i in range(filters):
        g[i] = total(load(zeros(8), sums, row[BIAS_SUMS] + 8 * i))
    update(kind, numbers, w, m, v, row[BIAS], g, 0, (filters + 7) // 8 * 8, mask, row[BIAS_MASKED] == 1)


@compiled(
    "void(int64[:,::1], int64[:,::1], int64, float64[::1], float64[::1], float32[::1], float32[::1], float32[::1], "
    "float32[::1], float32[::1], float32[::1], int64[::1], float32[::1], float32[::1], uint8[::1], float32[::1], "
    "int64, int64, int64, int64[::1], int64[::1], int64, int64, int64)"
)
def train(
    front, table, kind, numbers, rates, w, m, v, mask, g, sums, index, work, data, codes, scale, width, used, features,
    labels, order, first, batch, lanes,
):  # fmt: skip
    """As `program.train`, for cross-entropy. `front`: the table of convolutions; the first row of `table` is what these
    end with; w: parameters; sums: room for those of gradients."""
    mode = enter_float_mode()
    top = table.shape[0] - 1
    z, d, outputs = table[top, p.ACTIVE], table[top, p.DELTA], table[top, p.UNITS]
    for step in range(rates.size):
        count = min(batch, order.size - first)
        _forward(
            front, table, w, index, work, data, codes, scale, width, used, features, order, first, count, lanes
        )  # fmt: skip
        softmax_gradient(work, z, outputs, lanes, labels, order, first, count, work, d)
        advance(kind, numbers)
        numbers[RATE] = rates[step]
        for layer in range(top, 0, -1):
            errors(table, layer, w, index, work, lanes)
            learn(table, layer, kind, numbers, w, m, v, mask, g, index, work, lanes)
        sums[:] = np.float32(0.0)
        for group in range((lanes + GROUP - 1) // GROUP):
            done = group * GROUP
            error = table[0, p.ERROR] + done
            _images_backward(front, w, index, work, sums, error, group, min(GROUP, lanes - done), lanes)
        for layer in range(front.shape[0]):
            _learn_filters(front[layer], kind, numbers, w, m, v, mask, g, sums)
        first += count
    leave_float_mode(mode)


@compiled(
    "Tuple((float64, int64))(int64[:,::1], int64[:,::1], float32[::1], int64[::1], float32[::1], float32[::1], "
    "uint8[::1], float32[::1], int64, int64, int64, int64[::1], int64[::1], int64)"
)
def evaluate(front, table, w, index, work, data, codes, scale, width, used, features, labels, order, lanes):
    """(sum of the losses, right answers) over the examples `order`, `lanes` of them at a time. See `train`."""
    mode = enter_float_mode()
    top = table.shape[0] - 1
    z, room, outputs = table[top, p.ACTIVE], table[top, p.DELTA], table[top, p.UNITS]
    loss, right = 0.0, 0
    for first in range(0, order.size, lanes):
        count = min(lanes, order.size - first)
        _forward(
            front, table, w, index, work, data, codes, scale, width, used, features, order, first, count, lanes
        )  # fmt: skip
        lost, found = cross_entropy(work, z, outputs, lanes, labels, order, first, count, work, room)
        loss += lost
        right += found
    leave_float_mode(mode)
    return loss, right
