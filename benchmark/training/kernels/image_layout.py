"""Convolutions in front of a network's linear layers: what lies where of their parameters, images and errors.

A batch passes through them in groups of `GROUP` examples, whose images stay in the second-level cache from one
convolution to the next; the last max-pool writes a group's features beside those of the others, where the linear
layers read them all together. Groups are part of the order of sums (see `dense_convolutions`), so `GROUP` is not a
setting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]
Places = dict[str, tuple[Integers, Integers]]

GROUP = 24  # examples; three of AVX2's registers. A change moves bits: raise `engine.REVISION` with it
DENSE_FROM = 0.4
"""Density of a convolution from which on its dense form is faster, measured with `lotterybench speed`."""

# Columns of the table, one row a convolution. Offsets count entries of the array that is named.
(
    FILTERS,
    BLOCKED,  # filters, padded to a multiple of 4: those of dense weights
    CHANNELS,
    SIZE,  # rows of a kernel, and its columns
    HEIGHT,
    WIDTH,
    ROWS,  # of outputs, before they are pooled
    COLUMNS,
    RELU,  # 1 where a ReLU follows the max-pool
    TAPS,  # of a filter
    WEIGHT,  # in parameters: dense blocks of 4 filters, or surviving weights by filter
    WEIGHTS,  # how many numbers that is, padded to a multiple of 8
    BIAS,  # in parameters: FILTERS, padded to a multiple of 8
    SPARSE,  # 1 for the form by surviving weights
    MASKED,  # 1 where gradients of weights are multiplied by the mask
    BIAS_MASKED,
    TAP,  # in index: the first pixel of every tap, or of every surviving weight
    START,  # in index: FILTERS + 1 starts, of each filter's surviving weights
    CHANNEL_START,  # in index: CHANNELS + 1 starts, of each channel's, in an order of their own:
    PLACE,  # in index: their places,
    FILTER,  # filters,
    DOWN,  # rows
    RIGHT,  # and columns of their kernels
    SUMS,  # in sums: eight for each of WEIGHTS, then eight for each filter
    BIAS_SUMS,
    IMAGE,  # in work: what the convolution reads, of the first group
    OUTPUT,  # in work: its outputs before the max-pool, later gradients with respect to them, of the first group
    ERROR,  # in work: gradients with respect to IMAGE, of one group after another
    NEXT,  # from one group's IMAGE and OUTPUT to the next one's
) = range(29)
FRONT_COLUMNS = 29


@dataclass(frozen=True)
class Convolution:
    """A square kernel of `size` on images without padding, by a pixel at a time, then a max-pool of 2x2, then a ReLU
    if `relu`. `name`: of its module."""

    name: str
    channels: int
    filters: int
    size: int
    height: int
    width: int
    relu: bool

    @property
    def pixels(self) -> int:
        """Numbers of an image."""
        return self.channels * self.height * self.width

    @property
    def outputs(self) -> int:
        """Numbers of what it makes of an image, before the max-pool."""
        return self.filters * (self.height - self.size + 1) * (self.width - self.size + 1)

    @property
    def multiply_adds(self) -> int:
        """Of one image."""
        return self.outputs * self.channels * self.size**2


class ImageLayout:
    """Places of the parameters of some convolutions under masks, and their table.

    `reserve`: gives places of so many parameters; `pool`: takes indices in, and says where. `places`: as `Layout`'s.
    `gradients`, `sums`: how much room gradients take. `dense_from`: another density than `DENSE_FROM`.
    """

    def __init__(
        self,
        convolutions: Sequence[Convolution],
        masks: Mapping[str, Bools],
        reserve: Callable[[int], int],
        pool: Callable[[Integers], int],
        dense_from: float | None = None,
    ) -> None:
        self._convolutions, self._pool = convolutions, pool
        self.table: Integers = np.zeros((len(convolutions), FRONT_COLUMNS), np.int64)
        self.places: Places = {}
        self.gradients = self.sums = 0
        for row, each in zip(self.table, convolutions, strict=True):
            weight, bias = f"{each.name}.weight", f"{each.name}.bias"
            shape = (each.filters, each.channels, each.size, each.size)
            mask = masks.get(weight, np.ones(shape, np.bool_))
            row[[FILTERS, CHANNELS, SIZE, HEIGHT, WIDTH]] = *shape[:3], each.height, each.width
            row[ROWS], row[COLUMNS] = each.height - each.size + 1, each.width - each.size + 1
            row[BLOCKED], row[TAPS], row[RELU] = -(-each.filters // 4) * 4, each.channels * each.size**2, each.relu
            row[SPARSE] = mask.mean() < (DENSE_FROM if dense_from is None else dense_from)
            row[MASKED] = not row[SPARSE] and not mask.all()
            row[BIAS_MASKED] = bias in masks and not masks[bias].all()
            taken, source = self._sparse(row, mask) if row[SPARSE] else self._dense(row)
            row[WEIGHT] = reserve(int(row[WEIGHTS]) + 12 * each.size**2)  # read as far by fours of channels
            self.places[weight] = (taken + row[WEIGHT], source)
            row[BIAS] = reserve(-(-each.filters // 8) * 8)
            self.places[bias] = (np.arange(each.filters) + row[BIAS], np.arange(each.filters))
            row[SUMS], row[BIAS_SUMS] = self.sums, self.sums + 8 * row[WEIGHTS]
            self.sums += 8 * (int(row[WEIGHTS]) + each.filters)
            self.gradients = max(self.gradients, int(row[WEIGHTS]) + 8, each.filters + 8)

    def _first_pixels(self, row: Integers) -> Integers:
        """Of every tap: the pixel of the image that it multiplies for the first output."""
        square = row[SIZE] ** 2
        channel, (down, right) = np.arange(row[TAPS]) // square, divmod(np.arange(row[TAPS]) % square, row[SIZE])
        found: Integers = (channel * row[HEIGHT] + down) * row[WIDTH] + right
        return found

    def _dense(self, row: Integers) -> tuple[Integers, Integers]:
        """Places of weights within their part of the parameters, and where each stands in its tensor."""
        filters, taps = int(row[FILTERS]), int(row[TAPS])
        row[WEIGHTS], row[TAP] = -(-int(row[BLOCKED]) * taps // 8) * 8, self._pool(self._first_pixels(row))
        unit, tap = np.arange(filters)[:, None], np.arange(taps)
        return (unit // 4 * 4 * taps + tap * 4 + unit % 4).ravel(), np.arange(filters * taps)

    def _sparse(self, row: Integers, mask: Bools) -> tuple[Integers, Integers]:
        """The same for surviving weights, with the indices that say which they are."""
        filters, channels, downs, rights = np.nonzero(mask)
        taps = np.ravel_multi_index((channels, downs, rights), mask.shape[1:])
        row[START] = self._pool(_starts(filters, len(mask)))
        row[TAP] = self._pool(self._first_pixels(row)[taps])
        order = np.lexsort((rights, downs, filters, channels))
        row[CHANNEL_START], row[PLACE] = self._pool(_starts(channels, mask.shape[1])), self._pool(order)
        row[FILTER], row[DOWN] = self._pool(filters[order]), self._pool(downs[order])
        row[RIGHT] = self._pool(rights[order])
        row[WEIGHTS] = -(-len(filters) // 8) * 8
        return np.arange(len(filters)), np.flatnonzero(mask)

    def room(self, lanes: int, at: int) -> tuple[Integers, int]:
        """The table for batches of up to `lanes`, images from work[at] on; and where these end."""
        table, group, groups = self.table.copy(), min(lanes, GROUP), -(-lanes // GROUP)
        inputs = [(each.pixels + 3 * each.height * each.width) * group for each in self._convolutions]
        outputs = [int(r[BLOCKED] * r[ROWS] * r[COLUMNS]) * group for r in table]
        for row, pixels in zip(table, inputs, strict=True):  # each channel's, and of three more, by fours
            row[ERROR] = at
            at += pixels
        place = at
        for row, pixels, made in zip(table, inputs, outputs, strict=True):
            row[IMAGE], row[OUTPUT] = place, place + pixels
            place += pixels + made
        table[:, NEXT] = place - at
        return table, at + groups * (place - at)


def _starts(numbers: Integers, count: int) -> Integers:
    """Where each of `count` groups begins, of so many members each, and where the last one ends."""
    found: Integers = np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=count))]).astype(np.int64)
    return found
