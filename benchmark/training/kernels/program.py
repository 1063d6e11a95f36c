"""Training and evaluation of a network, compiled: whole runs of updates without a return to Python.

A network is data, not code: one table of integers says where each layer lies in flat arrays (see `layout`), so two
compiled functions serve every depth, width, batch size, mask, optimizer and loss, and are compiled once. Networks with
convolutions have another two, see `image_program`.
"""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from benchmark.training.kernels.cache import compiled, inner
from benchmark.training.kernels.functions import (
    cross_entropy,
    softmax_gradient,
    square_gradient,
    squared_error,
)
from benchmark.training.kernels.optimizers import RATE, advance, update
from benchmark.training.kernels.products import (
    bias_gradient,
    dense_backward,
    dense_forward,
    dense_gradient,
    sparse_backward,
    sparse_forward,
    sparse_gradient,
)
from benchmark.training.kernels.vector import (
    add,
    enter_float_mode,
    leave_float_mode,
    load,
    relu,
    scalar,
    spread,
    square_of_bytes,
    square_of_floats,
    square_of_standardised,
    store,
    touch,
    where_positive,
    zeros,
)

# Columns of the table, one row a layer. Offsets count entries of the array that is named.
(
    UNITS,  # outputs
    ROWS,  # outputs, padded to a multiple of 4: rows of dense weights
    INPUTS,  # inputs
    COLUMNS,  # inputs, padded to a multiple of 12: columns of dense weights
    WEIGHT,  # in parameters: dense blocks of 4 rows (see `products`), or surviving weights by panel and row
    WEIGHTS,  # how many numbers that is, padded to a multiple of 8
    BIAS,  # in parameters: UNITS, padded to a multiple of 8
    SPARSE,  # 1 for the form by surviving weights
    MASKED,  # 1 where gradients of weights are multiplied by the mask
    BIAS_MASKED,
    SHORTCUT,  # 1 where the layer's input is added to its output
    HIDDEN,  # 1 where a ReLU follows
    PANELS,  # panels of columns that surviving weights are taken in
    ROW_PANELS,  # and of rows, on the way back
    BY_ROW,  # in index: PANELS * UNITS + 1 starts, of each row in each panel
    COLUMN,  # in index: each surviving weight's column, then 8 zeros
    BY_COLUMN,  # in index: ROW_PANELS * INPUTS + 1 starts, of each column in each panel
    ROW,  # in index: the rows of surviving weights, by panel and column
    PLACE,  # in index: and their places in parameters
    ACTIVE,  # in work: relu(z), or z itself without a ReLU
    OUTPUT,  # in work: what the next layer reads; ACTIVE itself without a shortcut
    DELTA,  # in work: gradient with respect to z
    ERROR,  # in work: gradient with respect to OUTPUT
) = range(23)
TABLE_COLUMNS = 23
STRIP = 64  # features


@inner
def _touch_rows(data, codes, width, order, first, end):
    """Bring examples near, which lie anywhere in memory. Line by line they come at once; the squares of `gather` would
    wait for each of theirs."""
    if codes.size == 0:
        for i in range(first, end):
            for k in range(0, width, 16):
                touch(data, order[i] * width + k)
    else:
        for i in range(first, end):
            for k in range(0, width, 64):
                touch(codes, order[i] * width + k)


@inner
def _gather_one_by_one(work, to, index, used, begin, end, data, codes, scale, width, order, first, count, lanes):
    """As `gather`, for features `begin` to `end` - 1."""
    for j in range(begin, end):
        for lane in range(lanes):
            value = np.float32(0.0)
            if lane < count:
                place = order[first + lane] * width + scalar(index, used + j)
                if codes.size == 0:
                    value = data[place]
                else:
                    value = (np.float32(codes[place]) / np.float32(255.0) - scale[0]) / scale[1]
            work[to + j * lanes + lane] = value


@inner
def gather(work, to, index, used, features, data, codes, scale, width, order, first, count, lanes):
    """work[to:], [feature][lane], = the example order[first + lane]'s feature index[used + feature]; lanes beyond
    `count` are zero.

    Examples of `width` features each are the floats of `data`, or, where `codes` is not empty, its bytes over 255,
    standardised by `scale` (mean, deviation) where that is not (0, 1): the same numbers, from a quarter of the memory.
    Features come in eights that are neighbours there, but for the last ones (see `layout`), so that squares of 8
    examples by 8 features are turned in registers; `STRIP` features at a time, whose lines of `work` stay in the cache.
    """
    squares, last = features // 8 * 8 if count > 0 else 0, first + count - 1
    mean, deviation = scalar(scale, 0), scalar(scale, 1)
    plain = mean == 0.0 and deviation == 1.0
    _touch_rows(data, codes, width, order, first, first + count)
    for begin in range(0, squares, STRIP):
        for b in range(0, lanes, 8):
            i = first + b
            places = (
                order[min(i, last)] * width, order[min(i + 1, last)] * width,
                order[min(i + 2, last)] * width, order[min(i + 3, last)] * width,
                order[min(i + 4, last)] * width, order[min(i + 5, last)] * width,
                order[min(i + 6, last)] * width, order[min(i + 7, last)] * width,
            )  # fmt: skip
            for j in range(begin, min(begin + STRIP, squares), 8):
                at, feature, left = to + j * lanes + b, scalar(index, used + j), count - b
                if codes.size == 0:
                    square_of_floats(work, at, lanes, data, places, feature, left, mean, deviation)
                elif plain:
                    square_of_bytes(work, at, lanes, codes, places, feature, left, mean, deviation)
                else:
                    square_of_standardised(work, at, lanes, codes, places, feature, left, mean, deviation)
    _gather_one_by_one(
        work, to, index, used, squares, features, data, codes, scale, width, order, first, count, lanes
    )  # fmt: skip


@inner
def forward(table, first, p, index, work, lanes):
    """Layers `first` and on: ACTIVE and OUTPUT of each. Their inputs begin at work[0]."""
    like = zeros(8)
    x = 0
    for layer in range(first, table.shape[0]):
        units, z, bias = table[layer, UNITS], table[layer, ACTIVE], table[layer, BIAS]
        for r in range(units):
            value = spread(like, scalar(p, bias + r))
            for t in range(0, lanes, 8):
                store(work, z + r * lanes + t, value)
        if table[layer, SPARSE]:
            start, column = table[layer, BY_ROW], table[layer, COLUMN]
            panels, weight = table[layer, PANELS], table[layer, WEIGHT]
            sparse_forward(work, z, units, panels, p, weight, index, start, column, work, x, lanes)
        else:
            for i in range(z + units * lanes, z + table[layer, ROWS] * lanes):
                work[i] = np.float32(0.0)
            dense_forward(work, z, table[layer, ROWS], p, table[layer, WEIGHT], table[layer, COLUMNS], work, x, lanes)
        y = table[layer, OUTPUT]
        if table[layer, SHORTCUT]:
            for i in range(0, units * lanes, 8):
                active = relu(load(like, work, z + i))
                store(work, z + i, active)
                store(work, y + i, add(load(like, work, x + i), active))
        elif table[layer, HIDDEN]:
            for i in range(0, units * lanes, 8):
                store(work, z + i, relu(load(like, work, z + i)))
        x = y


@inner
def errors(table, layer, p, index, work, lanes):
    """ERROR and DELTA of the layer below `layer`, from DELTA (and ERROR, over a shortcut) of `layer`."""
    like = zeros(8)
    used, e = table[layer, INPUTS], table[layer - 1, ERROR]
    if table[layer, SHORTCUT]:
        for i in range(0, used * lanes, 8):
            store(work, e + i, load(like, work, table[layer, ERROR] + i))
    else:
        for i in range(0, used * lanes, 8):
            store(work, e + i, zeros(8))
    weight, d = table[layer, WEIGHT], table[layer, DELTA]
    if table[layer, SPARSE]:
        start, row, place = table[layer, BY_COLUMN], table[layer, ROW], table[layer, PLACE]
        panels = table[layer, ROW_PANELS]
        sparse_backward(work, e, used, panels, p, weight, index, start, row, place, work, d, lanes)
    else:
        padded = table[layer - 1, ROWS]
        for i in range(e + used * lanes, e + padded * lanes):
            work[i] = np.float32(0.0)
        columns, rows = table[layer, COLUMNS], table[layer, ROWS]
        dense_backward(work, e, padded, p, weight, columns, work, d, rows, lanes)
    below, active = table[layer - 1, DELTA], table[layer - 1, ACTIVE]
    for i in range(0, used * lanes, 8):
        store(work, below + i, where_positive(load(like, work, active + i), load(like, work, e + i)))


@inner
def learn(table, layer, kind, numbers, p, m, v, mask, g, index, work, lanes):
    """Gradients of one layer's parameters, and the optimizer's step, dense weights four rows at a time: their
    gradients are still in the cache when they are used."""
    x = 0 if layer == 0 else table[layer - 1, OUTPUT]
    weight, d, units = table[layer, WEIGHT], table[layer, DELTA], table[layer, UNITS]
    masked = table[layer, MASKED] == 1
    if table[layer, SPARSE]:
        panels, start, column = table[layer, PANELS], table[layer, BY_ROW], table[layer, COLUMN]
        sparse_gradient(g, work, d, units, panels, index, start, column, work, x, lanes)
        update(kind, numbers, p, m, v, weight, g, 0, table[layer, WEIGHTS], mask, masked)
    else:
        columns = table[layer, COLUMNS]
        for r in range(0, table[layer, ROWS], 4):
            dense_gradient(g, work, d + r * lanes, work, x, columns, lanes)
            update(kind, numbers, p, m, v, weight + r * columns, g, 0, 4 * columns, mask, masked)
    for i in range(units, units + 8):
        g[i] = np.float32(0.0)
    bias_gradient(g, work, d, units, lanes)
    count = (units + 7) // 8 * 8
    update(kind, numbers, p, m, v, table[layer, BIAS], g, 0, count, mask, table[layer, BIAS_MASKED] == 1)


@compiled(
    "void(int64[:,::1], int64, int64, float64[::1], float64[::1], float32[::1], float32[::1], float32[::1], "
    "float32[::1], float32[::1], int64[::1], float32[::1], float32[::1], uint8[::1], float32[::1], int64, int64, "
    "int64, int64[::1], float32[::1], int64[::1], int64, int64, int64)"
)
def train(
    table, kind, loss, numbers, rates, p, m, v, mask, g, index, work, data, codes, scale, width, used, features, labels,
    targets, order, first, batch, lanes,
):  # fmt: skip
    """rates.size updates, on batches of order[first:], order[first + batch:], ...; the last may be smaller.

    `kind`, `numbers`: see `optimizers`; `loss`: 0 for cross-entropy by `labels`, 1 for squared error by `targets`;
    p, m, v, mask: parameters, their first and second moments, their mask; g: room for a layer's gradients; data, codes,
    scale: see `gather`, [example][width], of which the first layer reads the features index[used: used + features].
    """
    mode = enter_float_mode()
    top = table.shape[0] - 1
    z, d, outputs = table[top, ACTIVE], table[top, DELTA], table[top, UNITS]
    for step in range(rates.size):
        count = min(batch, order.size - first)
        gather(work, 0, index, used, features, data, codes, scale, width, order, first, count, lanes)
        forward(table, 0, p, index, work, lanes)
        if loss == 0:
            softmax_gradient(work, z, outputs, lanes, labels, order, first, count, work, d)
        else:
            square_gradient(work, z, outputs, lanes, targets, order, first, count, work, d)
        advance(kind, numbers)
        numbers[RATE] = rates[step]
        for layer in range(top, -1, -1):
            if layer > 0:
                errors(table, layer, p, index, work, lanes)
            learn(table, layer, kind, numbers, p, m, v, mask, g, index, work, lanes)
        first += count
    leave_float_mode(mode)


@compiled(
    "Tuple((float64, int64))(int64[:,::1], int64, float32[::1], int64[::1], float32[::1], float32[::1], uint8[::1], "
    "float32[::1], int64, int64, int64, int64[::1], float32[::1], int64[::1], int64)"
)
def evaluate(
    table, loss, p, index, work, data, codes, scale, width, used, features, labels, targets, order, lanes
):  # fmt: skip
    """(sum of the losses, right answers) over the examples `order`, `lanes` of them at a time. See `train`."""
    mode = enter_float_mode()
    top = table.shape[0] - 1
    z, room, outputs = table[top, ACTIVE], table[top, DELTA], table[top, UNITS]
    total, right = 0.0, 0
    for first in range(0, order.size, lanes):
        count = min(lanes, order.size - first)
        gather(work, 0, index, used, features, data, codes, scale, width, order, first, count, lanes)
        forward(table, 0, p, index, work, lanes)
        if loss == 0:
            lost, found = cross_entropy(work, z, outputs, lanes, labels, order, first, count, work, room)
            total += lost
            right += found
        else:
            total += squared_error(work, z, outputs, lanes, targets, order, first, count)
    leave_float_mode(mode)
    return total, right
