"""ESCALATE: kernels as sparse ternary mixtures of a few basis kernels. Li et al., MICRO 2021, 10.1145/3466752.3480043.

Only the abstract was read; steps and fields follow its predecessor by the same group, PENNI (ICML 2020, arXiv
2005.07133, code read), but for the singular value decomposition, which PENNI centres by a mean that it then drops.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from benchmark.api import (
    BadInput,
    Code,
    Compressed,
    CompressedLayer,
    Compressor,
    Network,
    Work,
    bias_of,
    copied,
    filled,
    keep_top,
    layer_function,
    replace_layer,
    straight_through,
)

STEP_BITS = 32  # the size of one step of a quantised tensor, a float


def decomposed(kernels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """W = A B: basis B (M, k, k), of orthonormal rows, and coefficients A (K, C, M) of kernels W (K, C, k, k).

    B: the first M right singular vectors of W as a matrix (K C, k k), not centred, so A B is the nearest matrix of
    rank M (Eckart & Young) and its squared error the sum of the other squared singular values. M = min(count, rank).
    """
    outputs, inputs, side, _ = kernels.shape
    rows = kernels.detach().double().reshape(outputs * inputs, side * side)
    basis = torch.linalg.svd(rows, full_matrices=False).Vh[:count]
    coefficients = (rows @ basis.T).reshape(outputs, inputs, len(basis))
    return basis.reshape(-1, side, side).to(kernels), coefficients.to(kernels)


def recomposed(basis: Tensor, coefficients: Tensor) -> Tensor:
    """W = A B, (K, C, k, k)."""
    return torch.einsum("ocm,mij->ocij", coefficients, basis)


def two_stage(
    x: Tensor, basis: Tensor, coefficients: Tensor, stride: tuple[int, ...], padding: tuple[int, ...] | str
) -> Tensor:
    """x * (A B) = (x * B) A, basis first: each of C channels with each of M kernels, then K sums over the C M maps."""
    channels = x.shape[1]
    maps = conv2d(x, basis.repeat(channels, 1, 1).unsqueeze(1), None, stride, padding, groups=channels)
    return conv2d(maps, coefficients.flatten(1)[:, :, None, None])


def quantised(x: Tensor, bits: int) -> Tensor:
    """The nearest of 2^bits - 1 equal steps around 0, the outermost at max |x|."""
    step = x.abs().max() / (2 ** (bits - 1) - 1)
    return torch.round(x / step) * step if step > 0 else x


def ternary(latent: Tensor, kept: int, bits: int) -> Tensor:
    """{-a, 0, +a}, a of each output channel (axis 0): the signs of the `kept` entries of largest magnitude.

    a = mean |A| of the channel's kept entries, which is nearest to them in squares (ternary weight networks, Li et
    al. 2016, arXiv 1605.04711, for a given support), in `bits` bits. The gradient passes as if nothing had been done.
    """
    magnitude = latent.detach().abs()
    (support,) = keep_top([magnitude], kept)
    per_channel = (magnitude * support).flatten(1).sum(1) / support.flatten(1).sum(1).clamp(min=1)
    scale = quantised(per_channel, bits).reshape(-1, *[1] * (latent.dim() - 1))
    return straight_through(latent, torch.where(latent < 0, -scale, scale) * support)


class _Ternary(CompressedLayer):
    """What both layers of this file have: latent coefficients (K, ...) of which `kept` compute, ternary."""

    def __init__(self, latent: Tensor, kept: int, bits: int, code: Code) -> None:
        super().__init__()
        self.latent = nn.Parameter(latent)
        self.places, self.kept, self.precision, self.code = latent.numel(), kept, bits, code

    def coefficients(self) -> Tensor:
        """Those that compute, of the latent ones' shape; differentiable, straight through."""
        return ternary(self.latent, self.kept, self.precision)

    def bits(self) -> Mapping[str, int]:
        """See `CompressedLayer`: positions, signs, a scale for each output channel."""
        stored = self.code.bits(self.places, self.kept)
        return {**stored, "scales": self.precision * len(self.latent) + STEP_BITS}

    @torch.no_grad()
    def support(self) -> Tensor:
        """Boolean: the coefficients that are not zero."""
        (support,) = keep_top([self.latent.abs()], self.kept)
        return support

    def work(self) -> Work:
        """See `CompressedLayer`: one addition for each coefficient."""
        return Work(0, tuple(self.support().flatten(1).sum(1).tolist()), len(self.latent))


class TernaryLayer(_Ternary):
    """A linear layer, or a convolution of another size: its weights are the coefficients."""

    def __init__(self, layer: nn.Module, kept: int, bits: int, code: Code) -> None:
        super().__init__(layer.get_parameter("weight").detach().clone(), kept, bits, code)
        self.function, self.bias = layer_function(layer), bias_of(layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.coefficients(), self.bias)


class TwoStageConvolution(_Ternary):
    """A convolution by basis kernels of 8 bits and ternary coefficients, all of them trainable.

    Evaluation computes in two stages; training computes the same function with the recomposed kernels, one convolution
    in place of two.
    """

    def __init__(self, layer: nn.Conv2d, count: int, kept: int, bits: int, code: Code) -> None:
        basis, coefficients = decomposed(layer.weight, count)
        super().__init__(coefficients, kept, bits, code)
        self.basis = nn.Parameter(basis)
        self.function, self.bias = layer_function(layer), bias_of(layer)
        self.stride, self.padding = layer.stride, layer.padding

    def forward(self, x: Tensor) -> Tensor:
        basis = straight_through(self.basis, quantised(self.basis.detach(), self.precision))
        coefficients = self.coefficients()
        if self.training:
            return self.function(x, recomposed(basis, coefficients), self.bias)
        outputs = two_stage(x, basis, coefficients, self.stride, self.padding)
        return outputs if self.bias is None else outputs + self.bias[:, None, None]

    def bits(self) -> Mapping[str, int]:
        """See `CompressedLayer`: the basis beside."""
        return {**super().bits(), "basis": self.precision * self.basis.numel() + STEP_BITS}

    def work(self) -> Work:
        """See `CompressedLayer`: the first stage leaves out maps that no coefficient reads."""
        read = int(self.support().any(0).sum())
        second = super().work()
        return Work(read * self.basis[0].numel(), second.second, second.scales)


class Escalate(Compressor):
    """Convolutions with kernels of side `kernel` by `basis` kernels each; everything else ternary as it is.

    A budget is spent by one threshold for all layers: `threshold: deviations`, PENNI's, on |A| / std(A) of each layer;
    `magnitude` on |A|, whose squares are the errors of W, because basis kernels are orthonormal. Which coefficients
    are kept is decided anew in every forward pass; how many of each layer is not.

    Bits: `positions` of the coefficients, a sign each; `precision` bits for every number of the basis and for every
    output channel's scale.
    """

    paper = "Li et al. 2021, MICRO, 10.1145/3466752.3480043; steps after PENNI, Li et al. 2020, arXiv 2005.07133"

    def __init__(
        self,
        kernel: int = 3,
        basis: int = 5,
        positions: Literal["entropy", "bitmap"] = "entropy",
        precision: int = 8,
        threshold: Literal["deviations", "magnitude"] = "deviations",
    ) -> None:
        if kernel < 2 or not 1 <= basis <= kernel**2 or not 2 <= precision <= 16:
            raise ValueError(f"kernel {kernel}, basis {basis}, precision {precision}: kernel from 2, basis 1 to "
                             "kernel^2, precision 2 to 16")  # fmt: skip
        if threshold not in ("deviations", "magnitude"):
            raise ValueError(f"threshold {threshold!r}: deviations or magnitude")
        self.kernel, self.basis, self.precision, self.threshold = kernel, basis, precision, threshold
        self.code = Code(positions, value_bits=1)

    def compress(self, network: Network, budget: int) -> Compressed:
        """See `Compressor`."""
        module = copied(network)
        layers = {name: module.get_submodule(name.removesuffix(".weight")) for name in network.weights}
        self._check(layers)
        latents = {name: self._latent(layer) for name, layer in layers.items()}
        scores = {name: self._score(latent) for name, latent in latents.items()}

        def built(kept: Mapping[str, int]) -> dict[str, _Ternary]:
            return {name: self._layer(layer, kept[name]) for name, layer in layers.items()}

        fixed = {name: sum(layer.bits().values()) - sum(self.code.bits(latents[name].numel(), 1).values())
                 for name, layer in built(dict.fromkeys(layers, 1)).items()}  # fmt: skip

        def cost(kept: Mapping[str, int]) -> int:
            return sum(
                fixed[name] + sum(self.code.bits(latents[name].numel(), count).values()) for name, count in kept.items()
            )

        counts = filled(scores, self.code, cost, budget)
        if counts is None:
            least = cost(dict.fromkeys(layers, 1))
            raise BadInput(f"a budget of {budget} bits", f"escalate needs {least} for one coefficient in every layer",
                           "Compress less, or by fewer basis kernels")  # fmt: skip
        for name, layer in built(counts).items():
            replace_layer(module, name.removesuffix(".weight"), layer)
        return Compressed(module, network.input_shape)

    def _score(self, latent: Tensor) -> Tensor:
        return latent.abs() / (latent.std().clamp(min=1e-12) if self.threshold == "deviations" else 1.0)

    def _decomposes(self, layer: nn.Module) -> bool:
        plain = isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.dilation == (1, 1)
        return plain and layer.kernel_size == (self.kernel, self.kernel)

    def _check(self, layers: Mapping[str, nn.Module]) -> None:
        if not any(self._decomposes(layer) for layer in layers.values()):
            sides = sorted({layer.kernel_size[0] for layer in layers.values() if isinstance(layer, nn.Conv2d)})
            has = f"its kernels have sides {sides}" if sides else "it has no convolution"
            raise BadInput("escalate", f"the network has no {self.kernel}x{self.kernel} kernels to decompose: {has}",
                           "Set `kernel` to one of its sides" if sides else "Take a convolutional network")  # fmt: skip

    def _latent(self, layer: nn.Module) -> Tensor:
        weight = layer.get_parameter("weight").detach()
        return decomposed(weight, self.basis)[1] if self._decomposes(layer) else weight

    def _layer(self, layer: nn.Module, kept: int) -> _Ternary:
        if self._decomposes(layer):
            assert isinstance(layer, nn.Conv2d)
            return TwoStageConvolution(layer, self.basis, kept, self.precision, self.code)
        return TernaryLayer(layer, kept, self.precision, self.code)
