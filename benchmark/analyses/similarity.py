"""How alike two layers' activations are: SVCCA, mean CCA, PWCCA and linear CKA, of the same n examples.

No analysis itself. Activations are (n, units), float64, and need not have one number of units. All four are 1 for
activations that are equal up to a rotation, and do not see shifts; mean CCA and PWCCA do not see any invertible linear
map. With few examples independent activations look alike: the canonical correlations of u units with u others by
chance are some sqrt(u / n) high, so n has to be many times u.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ROUNDING = 1e-10
"""Directions with a smaller share of the largest singular value are none."""


@dataclass(frozen=True)
class Layer:
    """One layer's activations. `centred`: (n, units), each unit minus its mean. `directions`: (n, k) orthonormal, and
    `lengths` (k,) falling: its singular vectors and values, those that are not rounding."""

    centred: Tensor
    directions: Tensor
    lengths: Tensor

    @staticmethod
    def of(activations: Tensor) -> Layer:
        """Of activations (n, units)."""
        centred = activations - activations.mean(0)
        u, s, _ = torch.linalg.svd(centred, full_matrices=False)
        kept = int((s > ROUNDING * s[0]).sum()) if len(s) else 0
        return Layer(centred, u[:, :kept], s[:kept])

    @property
    def units(self) -> int:
        """How many there are, dead ones too."""
        return self.centred.shape[1]

    def leading(self, variance: float = 1.0) -> Tensor:
        """(n, k): as few leading directions as hold a share of the variance; all of them for 1."""
        if variance >= 1 or not len(self.lengths):
            return self.directions
        held = self.lengths.square().cumsum(0) / self.lengths.square().sum()
        return self.directions[:, : int((held < variance).sum()) + 1]


@dataclass(frozen=True)
class Correlations:
    """Canonical correlations (k,) of two sets of directions, falling; `left`: the variates of the first, (n, k)."""

    values: Tensor
    left: Tensor

    @property
    def mean(self) -> float:
        """Of all of them; 0 if either side does not vary at all."""
        return float(self.values.mean()) if len(self.values) else 0.0


def correlations(one: Tensor, other: Tensor) -> Correlations:
    """Of orthonormal (n, a) and (n, b): min(a, b) canonical correlations (Hotelling 1936)."""
    u, s, _ = torch.linalg.svd(one.T @ other, full_matrices=False)
    return Correlations(s.clamp(max=1.0), one @ u)


def svcca(one: Layer, other: Layer, variance: float = 0.99) -> float:
    """Mean canonical correlation of the leading directions that hold `variance` of each side (Raghu et al. 2017, arXiv
    1706.05806)."""
    return correlations(one.leading(variance), other.leading(variance)).mean


def mean_cca(one: Layer, other: Layer) -> float:
    """Mean canonical correlation of all directions in which the activations vary."""
    return correlations(one.directions, other.directions).mean


def pwcca(one: Layer, other: Layer) -> float:
    """Mean of the canonical correlations weighted by how much of `one`'s units its variates account for: by the sums
    of the absolute inner products of a variate with each unit (Morcos et al. 2018, arXiv 1806.05759, Section 3.2)."""
    found = correlations(one.directions, other.directions)
    weights = (found.left.T @ one.centred).abs().sum(1)
    return float((weights @ found.values) / weights.sum()) if len(weights) else 0.0


def linear_cka(one: Layer, other: Layer) -> float:
    """|| Y'X ||^2 / (|| X'X || || Y'Y ||) in Frobenius norms (Kornblith et al. 2019, arXiv 1905.00414)."""
    x, y = one.centred, other.centred
    own = torch.linalg.matrix_norm(x.T @ x) * torch.linalg.matrix_norm(y.T @ y)
    return float(torch.linalg.matrix_norm(y.T @ x).square() / own) if own > 0 else 0.0


def similarities(one: Layer, other: Layer, variance: float) -> dict[str, float]:
    """All four by name; PWCCA is weighted by `one`."""
    return {
        "svcca": svcca(one, other, variance),
        "mean_cca": mean_cca(one, other),
        "pwcca": pwcca(one, other),
        "linear_cka": linear_cka(one, other),
    }
