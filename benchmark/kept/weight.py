"""A weight tensor in a network, given by what is kept of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_map_only

from benchmark.kept.pattern import Pattern
from benchmark.kept.products import times

LARGE = 1 << 20  # multiplications; below, finding the zeros takes longer than multiplying them


def _linear(inputs: Tensor, weight: KeptWeight, bias: Tensor | None = None) -> Tensor:
    columns = inputs.reshape(-1, inputs.shape[-1]).t()
    outputs: Tensor = weight.times(columns).t().reshape(*inputs.shape[:-1], -1)
    return outputs if bias is None else outputs + bias


def _conv2d(
    inputs: Tensor, weight: KeptWeight, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    if groups != 1 or isinstance(padding, str) or inputs.dim() != 4:
        return functional.conv2d(inputs, weight.whole(), bias, stride, padding, dilation, groups)
    kernel = weight.pattern.shape[2:]
    patches = functional.unfold(inputs, kernel, dilation, padding, stride)  # (n, inputs of one output, places)
    outputs = weight.times(patches.transpose(0, 1).flatten(1))
    height = _places(inputs.shape[2], kernel[0], *(_pair(value)[0] for value in (stride, padding, dilation)))
    outputs = outputs.reshape(len(outputs), len(inputs), height, -1).transpose(0, 1)
    return outputs if bias is None else outputs + bias[:, None, None]


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _places(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


_PRODUCTS: dict[Any, Callable[..., Tensor]] = {functional.linear: _linear, functional.conv2d: _conv2d}
_METADATA = {Tensor.numel, *(getattr(Tensor, name).__get__ for name in ("shape", "dtype", "ndim", "requires_grad"))}


def _worth(inputs: Any = None, weight: Any = None, *_: Any) -> bool:
    """Whether a layer multiplies so much that it pays to leave the zeros out."""
    if not isinstance(weight, KeptWeight) or isinstance(inputs, KeptWeight):
        return False
    return bool(weight.numel() * inputs.numel() >= LARGE * inputs.shape[-1 if weight.ndim == 2 else 1])


class KeptWeight(Tensor):
    """A weight tensor of which only its `own` values (kept,), at the places of `pattern`, are not zero.

    Linear layers and convolutions compute with these; everything else is given the whole tensor.
    """

    own: Tensor
    pattern: Pattern

    @staticmethod
    def __new__(cls, values: Tensor, pattern: Pattern) -> KeptWeight:
        """Raises ValueError unless there is one value for each kept weight."""
        if values.shape != (pattern.kept,):
            raise ValueError(
                f"a weight of shape {tuple(values.shape)} for one of shape {tuple(pattern.shape)} "
                f"of which {pattern.kept} are kept; give the whole or a vector of what is kept"
            )
        # On the meta device: an operation that does not ask __torch_function__ fails there, and does not read zeros.
        nothing = torch.empty(pattern.shape, dtype=values.dtype, device="meta")
        self: KeptWeight = Tensor._make_subclass(cls, nothing)
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
        whole_args, whole_given = tree_map_only(KeptWeight, KeptWeight.whole, (args, given))
        return func(*whole_args, **whole_given)
