"""Where the entries lie that a mask keeps."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from benchmark.kept.index import count, places

if TYPE_CHECKING:
    from scipy.sparse import csr_array

GATHERED = 0.03  # density below which products are computed entry by entry, measured as in products.py


class Pattern:
    """Which entries of a tensor a boolean `mask` keeps, and how many: `kept`.

    `index`: (kept,) int64, their places in the flat tensor.

    A tensor is also read as a matrix: (outputs, everything that feeds one output).
    """

    def __init__(self, mask: Tensor) -> None:
        self.shape, self._size, self.kept, self._mask = mask.shape, mask.numel(), count(mask), mask

    @cached_property
    def index(self) -> Tensor:
        """See the class."""
        return torch.from_numpy(places(self._mask))

    @property
    def full(self) -> bool:
        """Whether every entry is kept."""
        return self.kept == self._size

    @property
    def density(self) -> float:
        """Share of the entries that is kept; 1 for an empty tensor."""
        return self.kept / self._size if self._size else 1.0

    def of(self, tensor: Tensor) -> Tensor:
        """(kept,): those entries of a tensor of this shape, in memory of their own; all of it in its shape."""
        return tensor.clone() if self.full else tensor.reshape(-1).index_select(0, self.index)

    def whole(self, values: Tensor) -> Tensor:
        """The tensor with `values` (kept,) in their places and zeros elsewhere; differentiable."""
        if self.full:
            return values.reshape(self.shape)
        # scatter_ into zeros of one's own: index_copy takes three times as long.
        return values.new_zeros(self._size).scatter_(0, self.index, values).reshape(self.shape)

    @cached_property
    def _places(self) -> tuple[Any, Any]:
        """(column of each entry, where each row begins), as compressed sparse rows."""
        rows = self.shape[0]
        columns = self._size // rows
        starts = np.arange(rows + 1) * columns
        begins = np.searchsorted(self.index.numpy(), starts)
        return (
            (self.index.numpy() - np.repeat(starts[:-1], np.diff(begins))).astype(np.int32),
            begins.astype(np.int32),
        )

    def compressed(self, values: Tensor) -> csr_array[Any]:
        """The matrix as compressed sparse rows."""
        from scipy.sparse import csr_array  # a quarter of a second, for networks that are large

        return csr_array((values.detach().numpy(), *self._places), (self.shape[0], self._size // self.shape[0]))

    def products(self, rows: Tensor, columns: Tensor) -> Tensor:
        """(kept,) entries of rows @ columns.T, for `rows` (outputs, n) and `columns` (everything that feeds one, n)."""
        if self.density >= GATHERED:
            every = (rows @ columns.t()).reshape(-1)
            return every if self.full else every.index_select(0, self.index)
        column, begins = (torch.from_numpy(part) for part in self._places)
        row = torch.repeat_interleave(begins.diff())
        return torch.einsum("ij,ij->i", rows.index_select(0, row), columns.index_select(0, column))
