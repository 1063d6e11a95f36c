"""Convolutions, linear layers and batch norms of a stack: for all replicas the one kernel that each would run alone.

torch.func.vmap takes them apart below autocast. A linear layer with a bias becomes a product in bf16, where that is
asked for, and a sum in fp32; a convolution stays in fp32 on a CPU. So a stack would calculate otherwise than its
replicas alone. Batch norm becomes a dozen kernels, and mixes precisions in a way that CUDA refuses. Activations and
pools are left to vmap, which makes one kernel of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import batch_norm, conv2d

# torch has no types for what vmap hands to a rule.
Info = Any
Dims = tuple[int | None, ...]


def in_front(tensor: Tensor, dim: int | None, replicas: int) -> Tensor:
    """With the axis of replicas in front; what has none is the same for all."""
    return tensor.expand(replicas, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


class Rule(Function):
    """An operation that is only ever called under vmap; autograd sees what `vmap` calls in its place."""

    @staticmethod
    def forward(*_: Any) -> Tensor:
        """Never reached: a stack has no other use of these layers."""
        raise RuntimeError("a layer of a stack was called outside of vmap")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing to keep."""


class _Affine(Rule):
    @staticmethod
    def vmap(info: Info, in_dims: Dims, x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, int]:
        """x (replicas, ..., in) times weight (replicas, out, in), plus bias (replicas, out)."""
        replicas = info.batch_size
        x, weight = (in_front(t, d, replicas) for t, d in zip((x, weight), in_dims[:2], strict=True))
        rows = x.flatten(1, -2)
        if bias is None:
            y = torch.bmm(rows, weight.mT)
        else:
            y = torch.baddbmm(in_front(bias, in_dims[2], replicas).unsqueeze(1), rows, weight.mT)
        return y.reshape(*x.shape[:-1], -1), 0


class _Convolved(Rule):
    @staticmethod
    def vmap(
        info: Info, in_dims: Dims, x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any
    ) -> tuple[Tensor, int]:
        """Groups of channels, one for each replica. `rest`: stride, padding, dilation, groups of one replica."""
        replicas, (stride, padding, dilation, groups) = info.batch_size, rest
        weight = in_front(weight, in_dims[1], replicas).flatten(0, 1)
        bias = None if bias is None else in_front(bias, in_dims[2], replicas).flatten()
        if in_dims[0] is not None or groups > 1:  # else all read the same channels
            x = in_front(x, in_dims[0], replicas).movedim(0, 1).flatten(1, 2)
            groups *= replicas
        y = conv2d(x, weight, bias, stride, padding, dilation, groups)
        return y.reshape(len(y), replicas, -1, *y.shape[2:]), 1


class _Normalised(Rule):
    @staticmethod
    def vmap(info: Info, in_dims: Dims, x: Tensor, *rest: Any) -> tuple[Tensor, int]:
        """The channels of all replicas side by side: (n, replicas x channels, h, w).

        `rest`: weight, bias, running mean and variance, each (replicas, channels); training, momentum, epsilon. Running
        statistics are stored densely, so that flat ones are views of them, which batch norm updates in place.
        """
        replicas = info.batch_size
        weight, bias, mean, var = (
            in_front(t, d, replicas).reshape(-1) for t, d in zip(rest[:4], in_dims[1:5], strict=True)
        )
        x = in_front(x, in_dims[0], replicas).movedim(0, 1)
        return batch_norm(x.flatten(1, 2), mean, var, weight, bias, *rest[4:]).reshape(x.shape), 1


class StackedConvolution(nn.Conv2d):
    """`nn.Conv2d` with zero padding, under vmap over replicas."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) to (n, out, h', w') of one replica."""
        shape = (self.stride, self.padding, self.dilation, self.groups)
        return cast(Tensor, _Convolved.apply(x, self.weight, self.bias, *shape))


class StackedLinear(nn.Linear):
    """`nn.Linear` under vmap over replicas."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out) of one replica."""
        return cast(Tensor, _Affine.apply(x, self.weight, self.bias))


class StackedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with running statistics and a fixed momentum, under vmap over replicas."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) of one replica, normalised."""
        if self.training:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
        return cast(
            Tensor,
            _Normalised.apply(
                x, self.weight, self.bias, self.running_mean, self.running_var, self.training, self.momentum, self.eps
            ),
        )


def _convolution(layer: Any) -> nn.Module:
    """Raises NotImplementedError for padding that is not zeros, which no family has."""
    if layer.padding_mode != "zeros":
        raise NotImplementedError(f"a stack of convolutions with {layer.padding_mode} padding")
    size = (layer.in_channels, layer.out_channels, layer.kernel_size)
    shape = (layer.stride, layer.padding, layer.dilation, layer.groups)
    return StackedConvolution(*size, *shape, bias=layer.bias is not None)


def _linear(layer: Any) -> nn.Module:
    return StackedLinear(layer.in_features, layer.out_features, layer.bias is not None)


def _batch_norm(layer: Any) -> nn.Module:
    return StackedBatchNorm(layer.num_features, layer.eps, layer.momentum)


LAYERS: Mapping[type[nn.Module], Callable[[nn.Module], nn.Module]] = {
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    nn.BatchNorm2d: _batch_norm,
}
"""By the very type of a layer: what takes its place in a stack."""


def stackable(module: nn.Module) -> nn.Module:
    """`module` with its layers replaced by those of a stack; names and shapes of its tensors stay, values do not."""
    for name, layer in list(module.named_modules()):
        if type(layer) in LAYERS:
            module.set_submodule(name, LAYERS[type(layer)](layer))
    return module
