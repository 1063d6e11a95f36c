"""The conditions of the recovery theorem, measured: restricted isometry, and how patterns differ.

arXiv 2509.20323, Lemma 1 and Theorem 1, as far as they could be read (shared notes; the body of the paper was not): if

    alpha I <= A_S^T A_S <= beta I   for every support S of the enlarged size, columns of A normalised,

then w <- H_k(w - eta A^T (A w - y)) with eta = 2 / (3 beta) and k >= 32 (beta / alpha)^2 s comes to the s-sparse signal
at a linear rate (by Jain, Tewari & Kar 2014).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Isometry:
    """Bounds of the eigenvalues of A_S^T A_S."""

    alpha: float
    beta: float

    @property
    def condition(self) -> float:
        """beta / alpha; infinite where columns depend on each other."""
        return self.beta / self.alpha if self.alpha > 0 else math.inf

    @property
    def step_size(self) -> float:
        """eta of the theorem."""
        return 2 / (3 * self.beta)

    def needed(self, sparsity: int) -> float:
        """k of the theorem for a signal of `sparsity` weights, a whole number or infinite."""
        needed = 32 * self.condition**2 * sparsity
        return float(math.ceil(needed)) if math.isfinite(needed) else math.inf


def certified(gram: Tensor) -> Isometry:
    """Bounds that hold for every support, of whatever size: the extreme eigenvalues of the whole Gram matrix (q, q).

    A_S^T A_S is a principal submatrix, so its eigenvalues lie between them (Cauchy). An eigenvalue below float64's
    rounding of the largest counts as 0.
    """
    values = torch.linalg.eigvalsh(gram)
    least, most = float(values[0]), float(values[-1])
    return Isometry(least if least > len(gram) * 2.3e-16 * most else 0.0, most)


def sampled(gram: Tensor, size: int, draws: int, rng: Generator) -> Isometry:
    """The extreme eigenvalues over `draws` random supports of `size` columns: never wider than what holds for all.

    Raises ValueError if there are fewer columns.
    """
    if not 1 <= size <= len(gram):
        raise ValueError(f"a support of {size} of {len(gram)} columns")
    least, most = math.inf, 0.0
    for _ in range(draws):
        support = torch.randperm(len(gram), generator=rng)[:size]
        values = torch.linalg.eigvalsh(gram[support][:, support])
        least, most = min(least, float(values[0])), max(most, float(values[-1]))
    return Isometry(max(least, 0.0), most)


def least_active(patterns: Tensor) -> float:
    """Share of examples, in percent, on which the pattern is active that is active on fewest. `patterns`: (n, m)."""
    return 100 * float(patterns.mean(0).min())


def least_apart(patterns: Tensor) -> float:
    """Share of examples, in percent, on which the two most alike patterns differ; 100 of a single one."""
    n, m = patterns.shape
    if m < 2:
        return 100.0
    active = patterns.sum(0)
    differ = active[:, None] + active[None, :] - 2 * patterns.T @ patterns
    return 100 * float(differ[~torch.eye(m, dtype=torch.bool)].min()) / n
