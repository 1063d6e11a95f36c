"""A fully connected network as the kernels read it: flat arrays, and the table that says what lies where.

Each layer's weights are held densely or by surviving weights, whichever is faster at its density; both give the same
bits (see `products`), so nothing but time depends on the choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

DENSE_FROM = 0.45
"""Density of a layer from which on its dense form is faster, measured with `lotterybench speed`."""

EVALUATED = 64  # examples that are evaluated side by side


def padded(count: int, to: int) -> int:
    """The least multiple of `to` that is not below `count`."""
    return -(-count // to) * to


def aligned(count: int) -> Floats:
    """Zeros that begin at a cache line."""
    raw = np.zeros(count * 4 + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + count * 4].view(np.float32)


@dataclass(frozen=True)
class Shape:
    """What a network is: `widths`, inputs first; `shortcuts`: whether hidden layers but the first add their input."""

    widths: tuple[int, ...]
    shortcuts: bool = False

    @property
    def names(self) -> list[tuple[str, str]]:
        """Names of weight and bias of each layer."""
        return [(f"fc{i}.weight", f"fc{i}.bias") for i in range(1, len(self.widths))]


@dataclass(frozen=True)
class Room:
    """Activations and their gradients for batches of up to `lanes` examples, and the table that goes with them."""

    lanes: int
    table: Integers
    work: Floats


class Layout:
    """Places of one network's parameters under one mask.

    `masks`: boolean arrays by tensor name; a tensor that is not named has none. `moments`: the same places hold what an
    optimizer remembers.
    """

    def __init__(self, shape: Shape, masks: Mapping[str, Bools], batch: int, dense_from: float | None = None) -> None:
        from benchmark.training.kernels import program as p

        self.shape, depth = shape, len(shape.widths) - 1
        self.table: Integers = np.zeros((depth, p.TABLE_COLUMNS), np.int64)
        self._places: dict[str, tuple[Integers, Integers]] = {}
        pools: list[Integers] = []
        self._indexed = self._size = 0
        room = 0

        def pool(numbers: Integers) -> int:
            pools.append(numbers.astype(np.int64))
            self._indexed += len(numbers)
            return self._indexed - len(numbers)

        for layer, (inputs, units) in enumerate(pairwise(shape.widths)):
            row = self.table[layer]
            weight, bias = shape.names[layer]
            mask = masks.get(weight, np.ones((units, inputs), np.bool_))
            row[p.UNITS], row[p.ROWS] = units, padded(units, 4)
            row[p.INPUTS], row[p.COLUMNS] = inputs, padded(inputs, 12)
            row[p.SPARSE] = mask.mean() < (DENSE_FROM if dense_from is None else dense_from)
            row[p.MASKED] = not row[p.SPARSE] and not mask.all()
            row[p.BIAS_MASKED] = bias in masks and not masks[bias].all()
            row[p.HIDDEN] = layer < depth - 1
            row[p.SHORTCUT] = shape.shortcuts and 0 < layer < depth - 1
            if row[p.SPARSE]:
                rows, columns = np.nonzero(mask)
                by_column = np.lexsort((rows, columns))
                row[p.BY_ROW], row[p.COLUMN] = pool(_starts(rows, units)), pool(np.append(columns, np.zeros(8, int)))
                row[p.BY_COLUMN] = pool(_starts(columns, inputs))
                row[p.ROW], row[p.PLACE] = pool(rows[by_column]), pool(by_column)
                taken, source = np.arange(len(rows)), np.flatnonzero(mask)
                row[p.WEIGHTS] = padded(len(rows), 8)
            else:
                row[p.WEIGHTS] = row[p.ROWS] * row[p.COLUMNS]
                unit, feature = np.arange(units)[:, None], np.arange(inputs)
                taken = (unit // 4 * 4 * row[p.COLUMNS] + feature * 4 + unit % 4).ravel()
                source = np.arange(units * inputs)
            row[p.WEIGHT] = self._reserve(int(row[p.WEIGHTS]))
            self._places[weight] = (taken + row[p.WEIGHT], source)
            row[p.BIAS] = self._reserve(padded(units, 8))
            self._places[bias] = (np.arange(units) + row[p.BIAS], np.arange(units))
            room = max(room, 4 * int(row[p.COLUMNS]), int(row[p.WEIGHTS]) * int(row[p.SPARSE]) + 16, units + 16)
        used = np.arange(shape.widths[0])
        if self.table[0, p.SPARSE]:
            used = self._leave_out_inputs(pools)
        self.features, self.used = len(used), pool(used)
        self.index: Integers = np.concatenate(pools)
        self.gradients = aligned(room)
        self.batch = batch
        self.training = self._room(padded(batch, 8))
        self.evaluation = self._room(EVALUATED)
        self.mask = self.empty()
        for name, (places, source) in self._places.items():
            self.mask[places] = 1.0 if name not in masks else masks[name].ravel()[source]

    def empty(self) -> Floats:
        """A zero for every parameter."""
        return aligned(self._size)

    def write(self, flat: Floats, name: str, values: Floats) -> None:
        """Put a tensor's surviving entries into their places."""
        places, source = self._places[name]
        flat[places] = values.ravel()[source] + np.float32(0.0)  # never -0

    def read(self, flat: Floats, name: str, shape: Sequence[int]) -> Floats:
        """A tensor of that shape, zero where nothing survives."""
        places, source = self._places[name]
        values = np.zeros(int(np.prod(shape)), np.float32)
        values[source] = flat[places]
        return values.reshape(shape)

    def _reserve(self, count: int) -> int:
        self._size += padded(count, 16)
        return self._size - padded(count, 16)

    def _leave_out_inputs(self, pools: list[Integers]) -> Integers:
        """Have the first layer, which is sparse, read only features that a weight survives for: number them anew in
        its `COLUMN`, its second pool. Their order stays, so sums do."""
        columns = pools[1]
        used = np.unique(columns[:-8])
        if len(used) == 0:
            return used
        columns[:-8] = np.searchsorted(used, columns[:-8])
        return used

    def _room(self, lanes: int) -> Room:
        from benchmark.training.kernels import program as p

        table, at = self.table.copy(), padded(self.shape.widths[0], 12) * lanes
        for layer in range(len(table)):
            units = padded(int(table[layer, p.UNITS]), 12) * lanes
            for column in (p.ACTIVE, p.OUTPUT, p.DELTA, p.ERROR):
                if column == p.OUTPUT and not table[layer, p.SHORTCUT]:
                    table[layer, column] = table[layer, p.ACTIVE]
                    continue
                table[layer, column] = at
                at += units
        return Room(lanes, table, aligned(at))


def _starts(numbers: Integers, count: int) -> Integers:
    """Where each of `count` sorted groups begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=count))]).astype(np.int64)
