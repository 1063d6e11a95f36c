"""Weights of which a mask keeps some: where these are, and networks that compute with them alone.

Methods of many rounds score a network that is mostly pruned. With vectors of the remaining weights their later rounds
cost what these few weights cost: gradients of pruned weights are not computed, zeros are not multiplied.

* `positions`: where a mask keeps entries, looked for once, because a look at every entry takes as long as a product of
  what remains.
* `Pattern`: those positions of one tensor, also read as a matrix (outputs, everything that feeds one output) M(v) of
  the values v. It has three products: M(v) X, M(v)^T Y, and the kept entries of Y X^T. Each is linear in both of its
  tensors and its derivatives are the other two, so derivatives of any order are right.
* `SparseWeight`: stands for a weight tensor in a module; linear layers and convolutions multiply with its values.
* `Masked`, `Copied`: tensors by name that are made when they are first asked for, so that a plugin that reads the
  remaining weights alone never causes the whole tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

if TYPE_CHECKING:
    from scipy.sparse import csr_array


Positions = NDArray[np.int64]


REMEMBER_BELOW = 0.25  # density below which deleting from known positions beats looking again


_REMEMBERED: Any = WeakIdKeyDictionary()  # mask -> (its version, positions)


def positions(mask: Tensor) -> Positions:
    """(kept,) positions of what a boolean mask keeps, in the flat tensor, in order. Not to be changed.

    Remembered while the mask lives. A change in place is noticed as far as torch counts it; the harness makes none.
    """
    known = _remembered(mask)
    if known is None:
        known = np.flatnonzero(mask.numpy())  # torch.nonzero takes ten times as long
        _remember(mask, known)
    return known


def kept_count(mask: Tensor) -> int:
    """How many entries a boolean mask keeps."""
    known = _remembered(mask)
    return int(np.count_nonzero(mask.numpy())) if known is None else len(known)


def _remembered(mask: Tensor) -> Positions | None:
    version, known = _REMEMBERED.get(mask, (-1, None))
    return None if known is None or version != mask._version else known


def _remember(mask: Tensor, known: Positions) -> None:
    if not mask.is_inference():  # torch counts no changes of these
        _REMEMBERED[mask] = mask._version, known


def only(mask: Tensor, kept: Positions) -> Tensor:
    """A mask of the same shape that keeps the entries at positions `kept`, in order, and no others."""
    narrower = mask.new_zeros(mask.shape)
    narrower.view(-1).numpy()[kept] = True
    _remember(narrower, kept)
    return narrower


def without(mask: Tensor, dropped: Positions, among: NDArray[np.intp] | None = None) -> Tensor:
    """A mask that keeps what `mask` does but for the entries at positions `dropped`.

    `among`: where these stand in `positions(mask)`, if that is known.
    """
    narrower = mask.clone(memory_format=torch.contiguous_format)
    narrower.view(-1).numpy()[dropped] = False
    if among is not None and len(before := positions(mask)) < REMEMBER_BELOW * mask.numel():
        _remember(narrower, np.delete(before, among))
    return narrower


class Lazy(Mapping[str, Tensor]):
    """Tensors by name, each made when it is first asked for. `made`: those that were."""

    def __init__(self, names: Sequence[str], make: Callable[[str], Tensor]) -> None:
        self._names, self.make = dict.fromkeys(names), make
        self.made: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.made:
            self._names[name]  # KeyError for an unknown name
            self.made[name] = self.make(name)
        return self.made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Masked(Lazy):
    """`state` times `masks`."""

    def __init__(self, names: Sequence[str], state: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        super().__init__(names, lambda name: state[name] * masks[name])
        self.state = state


class Copied(Lazy):
    """Copies of `given`."""

    def __init__(self, given: Mapping[str, Tensor]) -> None:
        super().__init__(tuple(given), lambda name: given[name].clone())
        self.given = given


GATHERED = 0.03  # density below which products are computed entry by entry, measured as those of `times`


class Pattern:
    """Which entries of a tensor a boolean `mask` keeps, and how many: `kept`.

    `index`: (kept,) int64, their positions in the flat tensor.

    A tensor is also read as a matrix: (outputs, everything that feeds one output).
    """

    def __init__(self, mask: Tensor) -> None:
        self.shape, self._size, self.kept, self._mask = mask.shape, mask.numel(), kept_count(mask), mask

    @cached_property
    def index(self) -> Tensor:
        """See the class."""
        return torch.from_numpy(positions(self._mask))

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
    def _row_layout(self) -> tuple[Any, Any]:
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

        return csr_array((values.detach().numpy(), *self._row_layout), (self.shape[0], self._size // self.shape[0]))

    def products(self, rows: Tensor, columns: Tensor) -> Tensor:
        """(kept,) entries of rows @ columns.T, for `rows` (outputs, n) and `columns` (everything that feeds one, n)."""
        if self.density >= GATHERED:
            every = (rows @ columns.t()).reshape(-1)
            return every if self.full else every.index_select(0, self.index)
        column, begins = (torch.from_numpy(part) for part in self._row_layout)
        row = torch.repeat_interleave(begins.diff())
        return torch.einsum("ij,ij->i", rows.index_select(0, row), columns.index_select(0, column))


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


LARGE = 1 << 20  # multiplications; below, finding the zeros takes longer than multiplying them


def _linear(inputs: Tensor, weight: SparseWeight, bias: Tensor | None = None) -> Tensor:
    columns = inputs.reshape(-1, inputs.shape[-1]).t()
    outputs: Tensor = weight.times(columns).t().reshape(*inputs.shape[:-1], -1)
    return outputs if bias is None else outputs + bias


def _conv2d(
    inputs: Tensor, weight: SparseWeight, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    if groups != 1 or isinstance(padding, str) or inputs.dim() != 4:
        return functional.conv2d(inputs, weight.whole(), bias, stride, padding, dilation, groups)
    kernel = weight.pattern.shape[2:]
    patches = functional.unfold(inputs, kernel, dilation, padding, stride)  # (n, inputs of one output, places)
    outputs = weight.times(patches.transpose(0, 1).flatten(1))
    height = _output_size(inputs.shape[2], kernel[0], *(_pair(value)[0] for value in (stride, padding, dilation)))
    outputs = outputs.reshape(len(outputs), len(inputs), height, -1).transpose(0, 1)
    return outputs if bias is None else outputs + bias[:, None, None]


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


_PRODUCTS: dict[Any, Callable[..., Tensor]] = {functional.linear: _linear, functional.conv2d: _conv2d}
_METADATA = {Tensor.numel, *(getattr(Tensor, name).__get__ for name in ("shape", "dtype", "ndim", "requires_grad"))}


def _worth(inputs: Any = None, weight: Any = None, *_: Any) -> bool:
    """Whether a layer multiplies so much that it pays to leave the zeros out."""
    if not isinstance(weight, SparseWeight) or isinstance(inputs, SparseWeight):
        return False
    return bool(weight.numel() * inputs.numel() >= LARGE * inputs.shape[-1 if weight.ndim == 2 else 1])


class SparseWeight(Tensor):
    """A weight tensor of which only its `own` values (kept,), at the places of `pattern`, are not zero.

    Linear layers and convolutions compute with these; everything else is given the whole tensor.
    """

    own: Tensor
    pattern: Pattern

    @staticmethod
    def __new__(cls, values: Tensor, pattern: Pattern) -> SparseWeight:
        """Raises ValueError unless there is one value for each kept weight."""
        if values.shape != (pattern.kept,):
            raise ValueError(
                f"a weight of shape {tuple(values.shape)} for one of shape {tuple(pattern.shape)} "
                f"of which {pattern.kept} are kept; give the whole or a vector of what is kept"
            )
        # On the meta device: an operation that does not ask __torch_function__ fails there, and does not read zeros.
        nothing = torch.empty(pattern.shape, dtype=values.dtype, device="meta")
        self: SparseWeight = Tensor._make_subclass(cls, nothing)
        self.own, self.pattern = values, pattern
        return self

    def __init__(self, values: Tensor, pattern: Pattern) -> None:  # noqa: ARG002 - what __new__ was given
        super().__init__()

    def whole(self) -> Tensor:
        """The tensor with its zeros."""
        return self.pattern.whole(self.own)

    def times(self, columns: Tensor) -> Tensor:
        """(outputs, n): this matrix times `columns` (everything that feeds one output, n)."""
        return times(self.own, columns, self.pattern)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in _METADATA:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **given)
        if func in _PRODUCTS and _worth(*args):
            return _PRODUCTS[func](*args, **given)
        whole_args, whole_given = tree_map_only(SparseWeight, SparseWeight.whole, (args, given))
        return func(*whole_args, **whole_given)
