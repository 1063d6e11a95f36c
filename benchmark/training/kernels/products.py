"""The three products of a fully connected layer, each in a dense and in a sparse form.

An activation is an array [feature][lane]: one row of `lanes` examples for each unit, the batch padded with lanes that
hold zeros. For weights w (out, in), inputs x, pre-activations z and their gradient d, a layer needs

    forward     z[i] = b[i] + sum over j of w[i, j] * x[j]       (a vector over examples for each i)
    backward    e[j] = e0[j] + sum over i of w[i, j] * d[i]
    gradient    g[i, j] = sum over examples of d[i] * x[j]

**Why the order of sums is fixed.** Floating-point addition is not associative, so a sum has as many values as orders,
and libraries choose the order by the width of registers, the size of caches, the number of threads. Here the order is
part of the definition. Forward and backward sums run over their index upwards, one fused multiply-add after another,
beginning with b[i] or e0[j]; vectors run over examples, whose sums do not mix, so their width cannot matter. Gradient
sums run over examples, the only sums that a vector splits: lane r of 8 adds examples r, r + 8, r + 16, ... upwards, and
`total` adds the eight in one tree. Blocking (how many rows are held in registers, how much of x stays in a cache)
changes when a term is added, never after which other one, and is free to follow speed.

Both forms add the terms of surviving weights in that order; a pruned weight adds +-0 in the dense form and nothing in
the sparse one. So they have the same bits, as long as everything is finite, whatever the mask: which one
runs is a question of speed alone.
"""

# mypy: ignore-errors
from __future__ import annotations

from benchmark.training.kernels.cache import inner
from benchmark.training.kernels.vector import add, fma, fmas, load, scalar, store, total, totals4, totals8, zeros

ROWS = 4
"""Rows of a block of dense weights, which lie column by column: w[i, j] is number j * 4 + i % 4 of block i // 4. So
both products read them from one place onwards. 4 rows by 24 examples fill 12 of AVX2's 16 registers with sums."""
PANEL = 192  # inner indices of one pass: that much of x stays in the first-level cache


@inner
def _forward_block(like, out, o, lanes, w, at, x, first, inner_count):
    """out[4 rows, lanes of `like`] += w[4 rows, inner] x[inner, lanes], held in registers."""
    a0 = load(like, out, o)
    a1 = load(like, out, o + lanes)
    a2 = load(like, out, o + 2 * lanes)
    a3 = load(like, out, o + 3 * lanes)
    for _ in range(inner_count):
        v = load(like, x, first)
        a0 = fmas(scalar(w, at), v, a0)
        a1 = fmas(scalar(w, at + 1), v, a1)
        a2 = fmas(scalar(w, at + 2), v, a2)
        a3 = fmas(scalar(w, at + 3), v, a3)
        at += 4
        first += lanes
    store(out, o, a0)
    store(out, o + lanes, a1)
    store(out, o + 2 * lanes, a2)
    store(out, o + 3 * lanes, a3)


@inner
def _forward_panel(like, out, o, rows, w, at, columns, x, first, count, lanes):
    for r in range(0, rows, ROWS):
        _forward_block(like, out, o + r * lanes, lanes, w, at + r * columns, x, first, count)


@inner
def dense_forward(out, o, rows, w, at, columns, x, first, lanes):
    """out[rows, lanes] += w x; rows is a multiple of 4, lanes of 8."""
    for k in range(0, columns, PANEL):
        count, lane = min(PANEL, columns - k), 0
        while lanes - lane >= 24:
            _forward_panel(
                zeros(24), out, o + lane, rows, w, at + k * ROWS, columns, x, first + k * lanes + lane, count, lanes
            )
            lane += 24
        if lanes - lane == 16:
            _forward_panel(
                zeros(16), out, o + lane, rows, w, at + k * ROWS, columns, x, first + k * lanes + lane, count, lanes
            )
        elif lanes - lane == 8:
            _forward_panel(
                zeros(8), out, o + lane, rows, w, at + k * ROWS, columns, x, first + k * lanes + lane, count, lanes
            )


@inner
def _backward_block(like, out, o, lanes, w, at, columns, d, first, rows):
    """out[4 columns, lanes of `like`] += w[rows, 4 columns]' d[rows, lanes], held in registers."""
    a0 = load(like, out, o)
    a1 = load(like, out, o + lanes)
    a2 = load(like, out, o + 2 * lanes)
    a3 = load(like, out, o + 3 * lanes)
    for _ in range(0, rows, ROWS):
        for k in range(at, at + ROWS):
            v = load(like, d, first)
            a0 = fmas(scalar(w, k), v, a0)
            a1 = fmas(scalar(w, k + 4), v, a1)
            a2 = fmas(scalar(w, k + 8), v, a2)
            a3 = fmas(scalar(w, k + 12), v, a3)
            first += lanes
        at += ROWS * columns
    store(out, o, a0)
    store(out, o + lanes, a1)
    store(out, o + 2 * lanes, a2)
    store(out, o + 3 * lanes, a3)


@inner
def _backward_panel(like, out, o, used, w, at, columns, d, first, count, lanes):
    for j in range(0, used, 4):
        _backward_block(like, out, o + j * lanes, lanes, w, at + j * ROWS, columns, d, first, count)


@inner
def dense_backward(out, o, used, w, at, columns, d, first, rows, lanes):
    """out[used, lanes] += w' d: the first `used` columns of w, a multiple of 4, as rows of the result."""
    for i in range(0, rows, PANEL):
        count, lane = min(PANEL, rows - i), 0
        while lanes - lane >= 24:
            _backward_panel(
                zeros(24), out, o + lane, used, w, at + i * columns, columns, d, first + i * lanes + lane, count, lanes
            )
            lane += 24
        if lanes - lane == 16:
            _backward_panel(
                zeros(16), out, o + lane, used, w, at + i * columns, columns, d, first + i * lanes + lane, count, lanes
            )
        elif lanes - lane == 8:
            _backward_panel(
                zeros(8), out, o + lane, used, w, at + i * columns, columns, d, first + i * lanes + lane, count, lanes
            )


@inner
def dense_gradient(g, d, first, x, x_first, columns, lanes):
    """g = d[4, lanes] x[columns, lanes]' for one block of rows, laid out as their weights are; columns is a multiple
    of 3."""
    like = zeros(8)
    for j in range(0, columns, 3):
        a0, a1, a2, a3 = zeros(8), zeros(8), zeros(8), zeros(8)
        b0, b1, b2, b3 = zeros(8), zeros(8), zeros(8), zeros(8)
        c0, c1, c2, c3 = zeros(8), zeros(8), zeros(8), zeros(8)
        at = x_first + j * lanes
        for t in range(first, first + lanes, 8):
            x0, x1, x2 = load(like, x, at), load(like, x, at + lanes), load(like, x, at + 2 * lanes)
            v = load(like, d, t)
            a0, b0, c0 = fma(v, x0, a0), fma(v, x1, b0), fma(v, x2, c0)
            v = load(like, d, t + lanes)
            a1, b1, c1 = fma(v, x0, a1), fma(v, x1, b1), fma(v, x2, c1)
            v = load(like, d, t + 2 * lanes)
            a2, b2, c2 = fma(v, x0, a2), fma(v, x1, b2), fma(v, x2, c2)
            v = load(like, d, t + 3 * lanes)
            a3, b3, c3 = fma(v, x0, a3), fma(v, x1, b3), fma(v, x2, c3)
            at += 8
        store(g, j * ROWS, totals8(a0, a1, a2, a3, b0, b1, b2, b3))
        store(g, j * ROWS + 8, totals4(c0, c1, c2, c3))


@inner
def _sparse_forward(like, out, o, rows, panels, w, at, index, start, column, x, first, lanes):
    for _ in range(panels):
        for r in range(rows):
            a = load(like, out, o + r * lanes)
            for k in range(scalar(index, start + r), scalar(index, start + r + 1)):
                a = fmas(scalar(w, at + k), load(like, x, first + scalar(index, column + k) * lanes), a)
            store(out, o + r * lanes, a)
        start += rows


@inner
def _sparse_backward(like, out, o, used, panels, w, at, index, start, row, place, d, first, lanes):
    for _ in range(panels):
        for j in range(used):
            a = load(like, out, o + j * lanes)
            for k in range(scalar(index, start + j), scalar(index, start + j + 1)):
                weight = scalar(w, at + scalar(index, place + k))
                a = fmas(weight, load(like, d, first + scalar(index, row + k) * lanes), a)
            store(out, o + j * lanes, a)
        start += used


@inner
def sparse_forward(out, o, rows, panels, w, at, index, start, column, x, first, lanes):
    """out[rows, lanes] += w x over surviving weights, panel by panel of columns: those of row r in panel q are
    w[at + k] for k from index[start + q * rows + r] up to the next start, in column index[column + k]; columns rise
    within a row, and from panel to panel."""
    lane = 0
    while lanes - lane >= 104 and lanes - lane != 128:
        _sparse_forward(zeros(104), out, o + lane, rows, panels, w, at, index, start, column, x, first + lane, lanes)
        lane += 104
    while lanes - lane >= 64:
        _sparse_forward(zeros(64), out, o + lane, rows, panels, w, at, index, start, column, x, first + lane, lanes)
        lane += 64
    while lanes - lane >= 32:
        _sparse_forward(zeros(32), out, o + lane, rows, panels, w, at, index, start, column, x, first + lane, lanes)
        lane += 32
    while lanes - lane >= 8:
        _sparse_forward(zeros(8), out, o + lane, rows, panels, w, at, index, start, column, x, first + lane, lanes)
        lane += 8


@inner
def sparse_backward(out, o, used, panels, w, at, index, start, row, place, d, first, lanes):
    """out[used, lanes] += w' d over surviving weights, panel by panel of rows: the k-th is w[at + index[place + k]], in
    row index[row + k]; starts are as in `sparse_forward`, of columns; rows rise within a column."""
    lane = 0
    while lanes - lane >= 104 and lanes - lane != 128:
        _sparse_backward(
            zeros(104), out, o + lane, used, panels, w, at, index, start, row, place, d, first + lane, lanes
        )
        lane += 104
    while lanes - lane >= 64:
        _sparse_backward(
            zeros(64), out, o + lane, used, panels, w, at, index, start, row, place, d, first + lane, lanes
        )
        lane += 64
    while lanes - lane >= 32:
        _sparse_backward(
            zeros(32), out, o + lane, used, panels, w, at, index, start, row, place, d, first + lane, lanes
        )
        lane += 32
    while lanes - lane >= 8:
        _sparse_backward(zeros(8), out, o + lane, used, panels, w, at, index, start, row, place, d, first + lane, lanes)
        lane += 8


@inner
def sparse_gradient(g, d, first, rows, panels, index, start, column, x, x_first, lanes):
    """g[k] for every surviving weight. Written eight at a time: what a row writes beyond its end the next one
    overwrites, and after the last row seven numbers behind the weights are zeroed. `column` is readable that far."""
    like = zeros(8)
    for r in range(panels * rows):
        at = first + r % rows * lanes
        k, end = scalar(index, start + r), scalar(index, start + r + 1)
        while k < end:
            x0 = x_first + scalar(index, column + k) * lanes
            x1 = x_first + scalar(index, column + k + 1) * lanes
            x2 = x_first + scalar(index, column + k + 2) * lanes
            x3 = x_first + scalar(index, column + k + 3) * lanes
            x4 = x_first + scalar(index, column + k + 4) * lanes
            x5 = x_first + scalar(index, column + k + 5) * lanes
            x6 = x_first + scalar(index, column + k + 6) * lanes
            x7 = x_first + scalar(index, column + k + 7) * lanes
            a0, a1, a2, a3 = zeros(8), zeros(8), zeros(8), zeros(8)
            a4, a5, a6, a7 = zeros(8), zeros(8), zeros(8), zeros(8)
            for t in range(0, lanes, 8):
                v = load(like, d, at + t)
                a0, a1 = fma(v, load(like, x, x0 + t), a0), fma(v, load(like, x, x1 + t), a1)
                a2, a3 = fma(v, load(like, x, x2 + t), a2), fma(v, load(like, x, x3 + t), a3)
                a4, a5 = fma(v, load(like, x, x4 + t), a4), fma(v, load(like, x, x5 + t), a5)
                a6, a7 = fma(v, load(like, x, x6 + t), a6), fma(v, load(like, x, x7 + t), a7)
            store(g, k, totals8(a0, a1, a2, a3, a4, a5, a6, a7))
            k += 8
    store(g, scalar(index, start + panels * rows), zeros(8))


@inner
def bias_gradient(g, d, first, rows, lanes):
    """g[i] = sum over examples of d[i]."""
    like = zeros(8)
    for r in range(rows):
        one = zeros(8)
        for t in range(0, lanes, 8):
            one = add(one, load(like, d, first + r * lanes + t))
        g[r] = total(one)
