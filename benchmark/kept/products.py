"""Three products of a pattern's values v, rows Y and columns X: M(v) X, M(v)^T Y, and the kept entries of Y X^T.

Each is linear in both of its tensors, and its derivatives are the other two: derivatives of any order are right.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmark.kept.pattern import Pattern

# Sparse products win below these densities, measured in float64 on one core of an EPYC: with few columns a product
# waits for its weights, with many it computes.
FEW_COLUMNS, SPARSE_WITH_FEW, SPARSE_WITH_MANY = 16, 0.5, 0.15
COMPRESSIBLE = (torch.float32, torch.float64)  # scipy's


def times(values: Tensor, columns: Tensor, pattern: Pattern) -> Tensor:
    """(outputs, n): the matrix of `pattern` with `values` (kept,) times `columns` (everything that feeds one, n)."""
    product: Tensor = _Times.apply(values, columns, pattern, _matrix(pattern, values, columns))
    return product


class _Matrix:
    """The matrix of a pattern with `values`, for products with `few` columns or many."""

    def __init__(self, pattern: Pattern, values: Tensor, few: bool) -> None:
        sparse = pattern.density < (SPARSE_WITH_FEW if few else SPARSE_WITH_MANY)
        self._few, self._sparse = few, sparse and values.dtype in COMPRESSIBLE
        self._own: Any = (
            pattern.compressed(values) if self._sparse else pattern.whole(values.detach()).reshape(pattern.shape[0], -1)
        )

    def times(self, columns: Tensor) -> Tensor:
        """(outputs, n) for (everything that feeds one output, n)."""
        product: Tensor = _compressed(self._own, columns) if self._sparse else self._own @ columns
        return product

    def transposed_times(self, rows: Tensor) -> Tensor:
        """(everything that feeds one output, n) for (outputs, n)."""
        if self._sparse:
            return _compressed(self._own.T, rows)
        # With few columns, reading the matrix along its rows takes a third of the time.
        product: Tensor = (rows.t() @ self._own).t() if self._few else self._own.t() @ rows
        return product


def _compressed(matrix: Any, columns: Tensor) -> Tensor:
    product: Tensor = torch.from_numpy(matrix @ columns.detach().contiguous().numpy())
    return product


def _matrix(pattern: Pattern, values: Tensor, columns: Tensor) -> _Matrix:
    return _Matrix(pattern, values, columns.shape[1] <= FEW_COLUMNS)


class _Times(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, columns: Tensor, pattern: Pattern, matrix: _Matrix) -> Tensor:
        ctx.save_for_backward(values, columns)
        ctx.pattern, ctx.matrix = pattern, matrix
        return matrix.times(columns)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        values, columns = ctx.saved_tensors
        of_values = _Entries.apply(gradient, columns, ctx.pattern) if ctx.needs_input_grad[0] else None
        of_columns = _Back.apply(values, gradient, ctx.pattern, ctx.matrix) if ctx.needs_input_grad[1] else None
        return of_values, of_columns, None, None


class _Back(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Tensor, pattern: Pattern, matrix: _Matrix) -> Tensor:
        ctx.save_for_backward(values, rows)
        ctx.pattern, ctx.matrix = pattern, matrix
        return matrix.transposed_times(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        values, rows = ctx.saved_tensors
        of_values = _Entries.apply(rows, gradient, ctx.pattern) if ctx.needs_input_grad[0] else None
        of_rows = _Times.apply(values, gradient, ctx.pattern, ctx.matrix) if ctx.needs_input_grad[1] else None
        return of_values, of_rows, None, None


class _Entries(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, columns: Tensor, pattern: Pattern) -> Tensor:
        ctx.save_for_backward(rows, columns)
        ctx.pattern = pattern
        return pattern.products(rows, columns)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        rows, columns = ctx.saved_tensors
        matrix = _matrix(ctx.pattern, gradient, columns)
        of_rows = _Times.apply(gradient, columns, ctx.pattern, matrix) if ctx.needs_input_grad[0] else None
        of_columns = _Back.apply(gradient, rows, ctx.pattern, matrix) if ctx.needs_input_grad[1] else None
        return of_rows, of_columns, None
