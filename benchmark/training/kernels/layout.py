"""A network as the kernels read it: flat arrays, and the table that says what lies where of its linear layers.

What lies where of convolutions in front of them, `image_layout` says.

Each layer's weights are held densely or by surviving weights, whichever is faster at its density; both give the same
bits (see `products`), so nothing but time depends on the choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchmark.training.kernels.image_layout import FRONT_COLUMNS, Convolution, ImageLayout

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

DENSE_FROM = 0.75
"""Density of a layer from which on its dense form is faster, measured with `lotterybench speed`."""

PANEL_BYTES = 24_576  # of the activations that a panel of sparse weights reads: they stay in a cache of 32 KiB
WORTH_A_PANEL = 5  # weights of a row in it, on average; with fewer, starting a row costs more than the cache saves

NO_FRONT: Integers = np.zeros((0, FRONT_COLUMNS), np.int64)
"""The table of the convolutions of a network that has none."""

EIGHT = 8  # features that are read together
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
    """What a network is: `widths` of linear layers, inputs first; `shortcuts`: whether hidden ones but the first add
    their input; `convolutions` in front of them."""

    widths: tuple[int, ...]
    shortcuts: bool = False
    convolutions: tuple[Convolution, ...] = ()

    @property
    def inputs(self) -> int:
        """Numbers of an example."""
        return self.convolutions[0].pixels if self.convolutions else self.widths[0]

    @property
    def names(self) -> list[tuple[str, str]]:
        """Names of weight and bias of each linear layer."""
        prefix = "head.fc" if self.convolutions else "fc"
        return [(f"{prefix}{i}.weight", f"{prefix}{i}.bias") for i in range(1, len(self.widths))]

    @property
    def multiply_adds(self) -> list[int]:
        """Of one forward pass of one example, layer by layer."""
        return [each.multiply_adds for each in self.convolutions] + [a * b for a, b in pairwise(self.widths)]


@dataclass(frozen=True)
class Room:
    """Activations and their gradients for batches of up to `lanes` examples, and the tables that go with them: of
    convolutions, if any, and of linear layers."""

    lanes: int
    table: Integers
    work: Floats
    front: Integers


class Layout:
    """Places of one network's parameters under one mask.

    `masks`: boolean arrays by tensor name; a tensor that is not named has none. What an optimizer remembers of a
    parameter lies at the same place of another array. `dense_from`: another density than `DENSE_FROM`.
    """

    def __init__(self, shape: Shape, masks: Mapping[str, Bools], batch: int, dense_from: float | None = None) -> None:
        from benchmark.training.kernels import program as p

        self.shape, self.batch, depth = shape, batch, len(shape.widths) - 1
        # What convolutions end with is a layer without weights: below the linear ones, which ask it for nothing else.
        below = 1 if shape.convolutions else 0
        self.table: Integers = np.zeros((below + depth, p.TABLE_COLUMNS), np.int64)
        self.table[:below, p.UNITS] = shape.widths[0]
        self.table[:below, p.ROWS] = padded(shape.widths[0], 4)
        self._places: dict[str, tuple[Integers, Integers]] = {}
        self._pools: list[Integers] = []
        self._indexed = self._size = room = sums = 0
        self._front: ImageLayout | None = None
        if shape.convolutions:
            self._front = ImageLayout(shape.convolutions, masks, self._reserve, self._pool, dense_from)
            self._places |= self._front.places
            room, sums = self._front.gradients, self._front.sums
        used = np.arange(shape.inputs)
        for layer, (inputs, units) in enumerate(pairwise(shape.widths), start=below):
            row = self.table[layer]
            weight, bias = shape.names[layer - below]
            mask = masks.get(weight, np.ones((units, inputs), np.bool_))
            row[p.UNITS], row[p.ROWS] = units, padded(units, 4)
            row[p.INPUTS], row[p.COLUMNS] = inputs, padded(inputs, 12)
            row[p.SPARSE] = mask.mean() < (DENSE_FROM if dense_from is None else dense_from)
            row[p.MASKED] = not row[p.SPARSE] and not mask.all()
            row[p.BIAS_MASKED] = bias in masks and not masks[bias].all()
            row[p.HIDDEN] = layer < below + depth - 1
            row[p.SHORTCUT] = shape.shortcuts and below < layer < below + depth - 1
            if row[p.SPARSE] and layer == 0:
                used = _read(mask)
            taken, source = self._sparse(row, mask, used, layer) if row[p.SPARSE] else self._dense(row)
            row[p.WEIGHT] = self._reserve(int(row[p.WEIGHTS]))
            self._places[weight] = (taken + row[p.WEIGHT], source)
            row[p.BIAS] = self._reserve(padded(units, 8))
            self._places[bias] = (np.arange(units) + row[p.BIAS], np.arange(units))
            room = max(room, 4 * int(row[p.COLUMNS]), int(row[p.WEIGHTS]) * int(row[p.SPARSE]) + 16, units + 16)
        self.features, self.used = len(used), self._pool(used)
        self.index: Integers = np.concatenate(self._pools)
        self.gradients = aligned(room)
        self.sums = aligned(sums)
        self.training = self._room(padded(batch, 8))
        self.evaluation = self._room(EVALUATED)
        self.mask = self.empty()
        for name, (places, source) in self._places.items():
            self.mask[places] = 1.0 if name not in masks else masks[name].ravel()[source]

    def _dense(self, row: Integers) -> tuple[Integers, Integers]:
        """Places of a layer's weights within its part of the parameters, and where each stands in its tensor."""
        from benchmark.training.kernels import program as p

        units, inputs, columns = (int(row[each]) for each in (p.UNITS, p.INPUTS, p.COLUMNS))
        row[p.WEIGHTS] = row[p.ROWS] * columns
        unit, feature = np.arange(units)[:, None], np.arange(inputs)
        return (unit // 4 * 4 * columns + feature * 4 + unit % 4).ravel(), np.arange(units * inputs)

    def _sparse(self, row: Integers, mask: Bools, used: Integers, layer: int) -> tuple[Integers, Integers]:
        """The same for surviving weights, with the indices that say which they are.

        Weights are taken panel by panel of columns, so that the activations they read stay in the first-level cache,
        where a row has enough of them in a panel to be worth it. Within a row columns rise from panel to panel, so
        sums keep their order.
        """
        from benchmark.training.kernels import program as p

        (units, inputs), (rows, columns), source = mask.shape, np.nonzero(mask), np.flatnonzero(mask)
        if layer == 0:
            columns, inputs = np.searchsorted(used, columns), max(len(used), 1)
        width = PANEL_BYTES // (4 * padded(self.batch, 8))
        if len(rows) * width < WORTH_A_PANEL * units * inputs:
            width = max(units, inputs)
        panel = columns // width
        order = np.lexsort((columns, rows, panel))
        rows, columns, panel, source = rows[order], columns[order], panel[order], source[order]
        row[p.PANELS], row[p.ROW_PANELS] = -(-inputs // width), -(-units // width)
        row[p.BY_ROW] = self._pool(_starts(panel * units + rows, int(row[p.PANELS]) * units))
        row[p.COLUMN] = self._pool(np.append(columns, np.zeros(8, np.int64)))
        if layer > 0:  # nothing goes back to the inputs
            panel = rows // width
            order = np.lexsort((rows, columns, panel))
            groups = (panel * inputs + columns)[order]
            row[p.BY_COLUMN] = self._pool(_starts(groups, int(row[p.ROW_PANELS]) * inputs))
            row[p.ROW], row[p.PLACE] = self._pool(rows[order]), self._pool(order)
        row[p.WEIGHTS] = padded(len(rows), 8)
        return np.arange(len(rows)), source

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

    def _pool(self, numbers: Integers) -> int:
        self._pools.append(numbers.astype(np.int64))
        self._indexed += len(numbers)
        return self._indexed - len(numbers)

    def _room(self, lanes: int) -> Room:
        from benchmark.training.kernels import program as p

        table, at = self.table.copy(), padded(self.shape.widths[0], 12) * lanes
        for layer in range(len(table)):
            below = layer == 0 and bool(self.shape.convolutions)  # in front of all others, at 0
            units = padded(int(table[layer, p.UNITS]), 12) * lanes
            for column in (p.ACTIVE, p.OUTPUT, p.DELTA, p.ERROR):
                if below and column in {p.ACTIVE, p.OUTPUT}:
                    continue
                if column == p.OUTPUT and not table[layer, p.SHORTCUT]:
                    table[layer, column] = table[layer, p.ACTIVE]
                    continue
                table[layer, column] = at
                at += units
        front = NO_FRONT
        if self._front is not None:
            front, at = self._front.room(lanes, at)
        return Room(lanes, table, aligned(at), front)


def _read(mask: Bools) -> Integers:
    """The features that are read for the weights that survive, in eights of neighbours (see `program.gather`): an eight
    of which no feature has a weight is left out. The order of the others stays, so sums do."""
    needed = np.add.reduceat(mask.any(0), np.arange(0, mask.shape[1], EIGHT)) > 0
    found: Integers = np.flatnonzero(np.repeat(needed, EIGHT)[: mask.shape[1]])
    return found


def _starts(numbers: Integers, count: int) -> Integers:
    """Where each of `count` sorted groups begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=count))]).astype(np.int64)
