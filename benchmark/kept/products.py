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
FEW_COLUMNS, SPARSE_WITH_FEW, SPARSE_WITH_MANY = 16, 0.3, 0.25
NARROW = 64  # so many columns or fewer are multiplied from the other side, in 0.4 to 0.8 of the time
COMPRESSIBLE = (torch.float32, torch.float64)  # scipy's


def times(values: Tensor, columns: Tensor, pattern: Pattern) -> Tensor:
    """(outputs, n): the matrix of `pattern` with `values` (kept,) times `columns` (everything that feeds one, n)."""
    product: Tensor = _Product.apply(values, columns, _matrix(pattern, values, columns), False)
    return product


class _Matrix:
    """The matrix of a pattern with `values`, for products with so many columns."""

    def __init__(self, pattern: Pattern, values: Tensor, columns: int) -> None:
        sparse = pattern.density < (SPARSE_WITH_FEW if columns <= FEW_COLUMNS else SPARSE_WITH_MANY)
        self.pattern, self._narrow = pattern, columns <= NARROW
        self._sparse = sparse and values.dtype in COMPRESSIBLE
        self._own: Any = (
            pattern.compressed(values) if self._sparse else pattern.whole(values.detach()).reshape(pattern.shape[0], -1)
        )

    def times(self, factor: Tensor, transposed: bool) -> Tensor:
        """(outputs, n) for (everything that feeds one output, n); with `transposed`, the other way round."""
        if self._sparse:
            return _compressed(self._own.T if transposed else self._own, factor)
        product: Tensor
        if transposed:  # along the matrix's rows, whatever the number of columns
            product = (factor.t() @ self._own).t()
        else:
            product = (factor.t() @ self._own.t()).t() if self._narrow else self._own @ factor
        return product


def _compressed(matrix: Any, columns: Tensor) -> Tensor:
    product: Tensor = torch.from_numpy(matrix @ columns.detach().contiguous().numpy())
    return product


def _matrix(pattern: Pattern, values: Tensor, columns: Tensor) -> _Matrix:
    return _Matrix(pattern, values, columns.shape[1])


class _Product(torch.autograd.Function):
    """M(v) X; with `transposed`, M(v)^T Y."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: Tensor, matrix: _Matrix, transposed: bool) -> Tensor:
        ctx.save_for_backward(values, factor)
        ctx.matrix, ctx.transposed = matrix, transposed
        return matrix.times(factor, transposed)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        values, factor = ctx.saved_tensors
        rows, columns = (factor, gradient) if ctx.transposed else (gradient, factor)
        of_values = _Entries.apply(rows, columns, ctx.matrix.pattern) if ctx.needs_input_grad[0] else None
        of_factor = None
        if ctx.needs_input_grad[1]:
            of_factor = _Product.apply(values, gradient, ctx.matrix, not ctx.transposed)
        return of_values, of_factor, None, None


class _Entries(torch.autograd.Function):
    """The kept entries of Y X^T."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, columns: Tensor, pattern: Pattern) -> Tensor:
        ctx.save_for_backward(rows, columns)
        ctx.pattern = pattern
        return pattern.products(rows, columns)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        rows, columns = ctx.saved_tensors
        matrix = _matrix(ctx.pattern, gradient, columns)
        of_rows = _Product.apply(gradient, columns, matrix, False) if ctx.needs_input_grad[0] else None
        of_columns = _Product.apply(gradient, rows, matrix, True) if ctx.needs_input_grad[1] else None
        return of_rows, of_columns, None
