"""A network of ReLU units as a linear map: with fixed activation patterns, outputs are linear in the fused weights.

    A w = sum_j D_j X w_j,   D_j = diag(1[X h_j > 0])

Column block j of A is D_j X. Where h_j and w_j agree on which examples are active, D_j X w_j = relu(X w_j); a unit with
output weight -1 needs the complementary pattern, so setting h := w only ever represents positive output weights.
A is never formed: a product with it is one with X, masked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sensing:
    """The map A of inputs (n, d) under patterns (n, m), which are 0 or 1 in the inputs' dtype."""

    inputs: Tensor
    patterns: Tensor

    @classmethod
    def of(cls, inputs: Tensor, generators: Tensor) -> Sensing:
        """The patterns of generators (m, d). One that is zero is active nowhere: its unit is dead."""
        return cls(inputs, (inputs @ generators.T > 0).to(inputs.dtype))

    def apply(self, weights: Tensor) -> Tensor:
        """A w, (n,), of weights (m, d)."""
        return (self.inputs @ weights.T * self.patterns).sum(1)

    def adjoint(self, residual: Tensor) -> Tensor:
        """A^T r, (m, d), of r (n,)."""
        return (self.patterns * residual[:, None]).T @ self.inputs

    def column_norms(self) -> Tensor:
        """(m, d): the Euclidean norm of every column of A."""
        return (self.patterns.T @ self.inputs**2).sqrt()

    def gram(self) -> Tensor:
        """(m d, m d): A^T A, unit by unit."""
        m, d = self.patterns.shape[1], self.inputs.shape[1]
        blocks = torch.empty(m, d, m, d, dtype=self.inputs.dtype)
        for j in range(m):
            for k in range(j, m):
                both = self.patterns[:, j] * self.patterns[:, k]
                block = self.inputs.T @ (both[:, None] * self.inputs)
                blocks[j, :, k], blocks[k, :, j] = block, block.T
        return blocks.reshape(m * d, m * d)


Patterns = Callable[[Tensor, int], Sensing | None]
"""From the weights (m, d) after a step (counted from 0): the map of the steps to come, or None to keep the old one."""


def refreshed(inputs: Tensor, every: int) -> Patterns:
    """Sequential convex: patterns are those of the weights, anew after every `every`-th step but the first.

    As released: after step t where t > 0 and t is a multiple of `every`. A unit that has lost all its weights gets a
    pattern of zeros and stays dead.
    """

    def after(weights: Tensor, step: int) -> Sensing | None:
        return Sensing.of(inputs, weights) if step > 0 and step % every == 0 else None

    return after


def fixed(weights: Tensor, step: int) -> None:
    """Patterns never move: those of a convex network, random or, with an oracle, the planted network's own."""
