"""Iterative hard thresholding on a ReLU network seen as a linear map: as released, and as in the theorem.

Fridovich-Keil & Pilanci (arXiv 2509.20323). The released solver (github voilalab/MLP-IHT, sparse_AIHT.py, one output)
keeps exactly s fused weights, takes its step size from the support, and follows each thresholding by ten gradient steps
on the new support whose size shrinks by Armijo's rule. The theorem's is plain: one size, patterns that do not move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.analyses.recovery.sensing import Patterns, Sensing
from benchmark.pruning.topk import keep_top

FIRST_SIZE = 1e-14  # step size without a support: what is then kept are the largest entries of A^T y
INNER_STEPS = 10
TRIALS = 11  # of one inner step, each at half the size of the one before; then the solver gives up
DECREASE = 0.9  # the share of size x |g|^2 by which an inner step must lower |A w - y|^2
TINY = 1e-8  # added to |A g|^2, as released


@dataclass(frozen=True)
class Iterate:
    """The solver after `step` steps (from 1): weights (m, d), and the map that the last step was taken under.

    `objective`: |A w - y|^2 after thresholding and after every inner step, under that map. `gave_up`: inner steps
    whose size was halved in vain, upon which the weights went back to those after thresholding.
    """

    step: int
    weights: Tensor
    sensing: Sensing
    objective: tuple[float, ...]
    gave_up: int


def threshold(weights: Tensor, count: int) -> Tensor:
    """H_s: the `count` entries of largest absolute value, of equal ones the first; all others zero."""
    (kept,) = keep_top([weights.abs()], count)
    return weights.where(kept, 0.0)


def accelerated_iht(labels: Tensor, start: Sensing, sparsity: int, patterns: Patterns) -> Iterator[Iterate]:
    """The released solver from w = 0, step by step, without end.

    `labels`: (n,). `start`: the map of the first steps. `patterns`: says after every step which map follows.

        g = A^T (A w - y),   mu = |g_S|^2 / |A g_S|^2,   w <- H_s(w - mu g)
        ten times on the support:   w <- w - mu g_S, mu halved until |A w - y|^2 falls by 0.9 mu |g_S|^2 at least
    """
    units, width = start.patterns.shape[1], start.inputs.shape[1]
    weights, sensing, step = torch.zeros(units, width, dtype=labels.dtype), start, 0
    while True:
        weights, objective, gave_up = _step(labels, sensing, sparsity, weights)
        yield Iterate(step + 1, weights, sensing, objective, gave_up)
        sensing = patterns(weights, step) or sensing
        step += 1


def _step(labels: Tensor, sensing: Sensing, sparsity: int, weights: Tensor) -> tuple[Tensor, tuple[float, ...], int]:
    """One outer step under one map: weights, values of the objective, inner steps given up."""
    gradient = sensing.adjoint(sensing.apply(weights) - labels)
    size = _support_size(sensing, weights, gradient)
    thresholded = threshold(weights - size * gradient, sparsity)
    support = thresholded != 0
    residual_there = sensing.apply(thresholded) - labels
    weights, residual, gave_up = thresholded, residual_there, 0
    objective = [float(residual @ residual)]
    for _ in range(INNER_STEPS):
        gradient = sensing.adjoint(residual).where(support, 0.0)
        ahead = sensing.apply(gradient)
        slope, curvature = float((gradient**2).sum()), float(ahead @ ahead)
        size, accepted = armijo(size, slope, curvature)
        if accepted:
            weights, residual = weights - size * gradient, residual - size * ahead
        else:
            weights, residual, gave_up = thresholded, residual_there, gave_up + 1
        objective.append(float(residual @ residual))
    return weights, tuple(objective), gave_up


def _support_size(sensing: Sensing, weights: Tensor, gradient: Tensor) -> float:
    """The size that is best along the gradient on the support."""
    support = weights != 0
    if not support.any():
        return FIRST_SIZE
    there = gradient.where(support, 0.0)
    return float((there**2).sum() / ((sensing.apply(there) ** 2).sum() + TINY))


def armijo(size: float, slope: float, curvature: float) -> tuple[float, bool]:
    """The first of size, size / 2, size / 4, ... that lowers the objective enough, and whether one did.

    `slope`: |g|^2 of g = A^T r; `curvature`: |A g|^2. The objective is quadratic: |r - t A g|^2 = |r|^2 - 2 t |g|^2 +
    t^2 |A g|^2, which is at most |r|^2 - 0.9 t |g|^2 exactly where t |A g|^2 <= 1.1 |g|^2. So no trial needs a product
    with A, and none is lost to rounding, where the difference of two objectives would be.
    """
    for _ in range(TRIALS):
        if size * curvature <= (2 - DECREASE) * slope:
            return size, True
        size /= 2
    return size, False


def plain_iht(
    apply: Callable[[Tensor], Tensor], adjoint: Callable[[Tensor], Tensor], labels: Tensor, kept: int, size: float,
    start: Tensor,
) -> Iterator[Tensor]:  # fmt: skip
    """The theorem's iteration w <- H_k(w - eta A^T (A w - y)) from `start` on, without end: k is `kept`, eta `size`."""
    weights = start
    while True:
        weights = threshold(weights - size * adjoint(apply(weights) - labels), kept)
        yield weights
