"""Batch norms that have ReLU, and the sum with a shortcut before it, in one operation with its gradient.

In training mode only: evaluation is left as it is. On CUDA Triton's kernels calculate it, elsewhere the formulas. Names
and shapes of tensors are those of the layer that is replaced, so weights go from one to the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function

from benchmark.training.stacked_layers import Dims, Info, Rule, StackedBatchNorm, in_front


def _engine(x: Tensor) -> Any:
    """Who calculates it: a module with `forward` and `backward`."""
    if x.is_cuda:
        from benchmark.training.fused import triton_kernels

        return triton_kernels
    from benchmark.training.fused import formulas

    return formulas


def _dense(tensor: Tensor, like: Tensor) -> Tensor:
    """As `like` lies in memory, which is densely in the usual order or in channels_last."""
    last = like.dim() == 4 and like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    return tensor.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


class NormRelu(Function):
    """relu(batch_norm(x) + shortcut) of (n, c, h, w) by the batch's own moments; running ones are updated in place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shortcut: Tensor | None, weight: Tensor, bias: Tensor, *rest: Any) -> Tensor:
        """`rest`: running mean and variance (c,), momentum, epsilon."""
        x = _dense(x, x)
        shortcut = None if shortcut is None else _dense(shortcut, x)
        y, mean, scale = _engine(x).forward(x, shortcut, weight, bias, rest[:2], *rest[2:])
        ctx.save_for_backward(x, y, weight, mean, scale)
        ctx.shortcut = None if shortcut is None else shortcut.dtype
        return cast(Tensor, y)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """With respect to x, shortcut, weight and bias."""
        x, y, weight, mean, scale = ctx.saved_tensors
        g = _dense(gradients[0], x)
        dx, dr, dw, db = _engine(x).backward(g, x, y, weight, mean, scale, ctx.shortcut is not None)
        return dx, None if dr is None else dr.to(ctx.shortcut), dw, db, None, None, None, None


class _StackedNormRelu(Rule):
    @staticmethod
    def vmap(info: Info, in_dims: Dims, x: Tensor, shortcut: Tensor | None, *rest: Any) -> tuple[Tensor, int]:
        """The channels of all replicas side by side, as `StackedBatchNorm` has them."""
        replicas = info.batch_size
        values = [in_front(t, d, replicas).reshape(-1) for t, d in zip(rest[:4], in_dims[2:6], strict=True)]
        x = in_front(x, in_dims[0], replicas).movedim(0, 1)
        if shortcut is not None:
            shortcut = in_front(shortcut, in_dims[1], replicas).movedim(0, 1).flatten(1, 2)
        y = cast(Tensor, NormRelu.apply(x.flatten(1, 2), shortcut, *values, *rest[4:]))
        return y.reshape(x.shape), 1


class FusedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with running statistics and a fixed momentum. See `benchmark.networks.layers.norm_relu`."""

    operation: Any = NormRelu

    def norm_relu(self, x: Tensor, shortcut: Tensor | None) -> Tensor:
        """relu(self(x) + shortcut)."""
        if not self.training:
            return torch.relu(self(x) if shortcut is None else self(x) + shortcut)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        values = (self.weight, self.bias, self.running_mean, self.running_var)
        return cast(Tensor, self.operation.apply(x, shortcut, *values, self.momentum, self.eps))


class FusedStackedBatchNorm(FusedBatchNorm, StackedBatchNorm):
    """The same under vmap over replicas."""

    operation = _StackedNormRelu


FUSED: Mapping[type[nn.Module], Callable[[int, float, float | None], FusedBatchNorm]] = {
    nn.BatchNorm2d: FusedBatchNorm,
    StackedBatchNorm: FusedStackedBatchNorm,
}
"""By the very type of a batch norm: what takes its place."""


def fuse(module: nn.Module) -> nn.Module:
    """`module` with its batch norms replaced, values and all."""
    for name, layer in list(module.named_modules()):
        if type(layer) in FUSED:
            norm = cast(nn.BatchNorm2d, layer)
            made = FUSED[type(layer)](norm.num_features, norm.eps, norm.momentum)
            made.load_state_dict(norm.state_dict())
            module.set_submodule(name, made.train(norm.training))
    return module
