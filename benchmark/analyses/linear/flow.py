"""Gradient flow of least squares, solved exactly, and iterative magnitude pruning on it.

    dw/dt = -Phi^T (Phi w - y) / n,   w(0) = w0

In the eigenbasis of Phi^T Phi / n = U diag(l) U^T each coordinate c = (U^T w)_i moves by itself:

    c(t) = exp(-l t) c(0) + (1 - exp(-l t)) / l * (U^T Phi^T y / n)_i,   and c(t) = c(0) where l = 0

since Phi^T y has no part in the null space. So there is no step size, and t = infinity is a limit, not a long time.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def flow(features: Array, target: Array, start: Array, time: float) -> Array:
    """(d,): w(`time`) from `start` (d,), for features (n, d) and target (n,); `time` may be infinite.

    An eigenvalue below float64's rounding of the largest counts as 0.
    """
    n, d = features.shape
    values, basis = np.linalg.eigh(features.T @ features / n)
    pull, first = basis.T @ (features.T @ target) / n, basis.T @ start
    flat = values <= max(n, d) * np.finfo(np.float64).eps * max(float(values[-1]), 0.0)
    safe = np.where(flat, 1.0, values)
    decay = np.zeros(d) if math.isinf(time) else np.exp(-safe * time)
    moved = decay * first + (1 - decay) * pull / safe
    weights: Array = basis @ np.where(flat, first, moved)
    return weights


def order_of_imp(features: Array, target: Array, start: Array, time: float, keep: int = 1) -> list[int]:
    """The features in the order in which iterative magnitude pruning removes them, until `keep` are left.

    A round: gradient flow of the surviving features from their values in `start`, then the smallest weight goes, of
    equal ones the last (as in the harness: of equal scores the lower index stays). Raises ValueError if `keep` is not
    between 0 and the number of features.
    """
    if not 0 <= keep <= features.shape[1]:
        raise ValueError(f"{keep} of {features.shape[1]} features cannot be left")
    left, removed = list(range(features.shape[1])), []
    while len(left) > keep:
        weights = np.abs(flow(features[:, left], target, start[left], time))
        removed.append(left.pop(len(left) - 1 - int(np.argmin(weights[::-1]))))
    return removed


def order_of_one_shot(features: Array, target: Array, start: Array, time: float, keep: int = 1) -> list[int]:
    """The same, all removed by the weights of one flow: smallest first, of equal ones the last."""
    weights = np.abs(flow(features, target, start, time))
    order = sorted(range(len(weights)), key=lambda j: (weights[j], -j))
    return order[: len(order) - keep]


def order_of_elimination(features: Array, target: Array, keep: int = 1) -> list[int]:
    """Backward elimination: the feature of the smallest least-squares coefficient goes, again and again.

    Raises ValueError unless the features are linearly independent, without which there is no one solution.
    """
    if np.linalg.matrix_rank(features) < features.shape[1]:
        raise ValueError("backward elimination needs linearly independent features")
    left, removed = list(range(features.shape[1])), []
    while len(left) > keep:
        coefficients, *_ = np.linalg.lstsq(features[:, left], target, rcond=None)
        removed.append(left.pop(int(np.argmin(np.abs(coefficients)))))
    return removed


def order_of_projection(features: Array, target: Array, keep: int = 1) -> list[int]:
    """The features by rising |<phi_j, y>|, their projection onto the data, each computed once."""
    projections = np.abs(features.T @ target)
    order = [int(j) for j in np.argsort(projections, kind="stable")]
    return order[: len(order) - keep]
