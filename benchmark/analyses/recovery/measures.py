"""How well a network was recovered: of its outputs (PSNR), of its support and of its weights, whatever the order of its
units."""

from __future__ import annotations

import math

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from benchmark.analyses.recovery.planted import Planted, outputs

UNITS = {"psnr": "dB", "support_overlap": "percent", "weight_error": "relative"}
"""Of the numbers that `recovery` gives."""
HIGHEST = 400.0  # dB; what a fit without any error is given, above what float64 can tell apart


def psnr(squared_error: float, peak: float) -> float:
    """20 log10(peak) - 10 log10(mean squared error), dB; at most `HIGHEST`."""
    if squared_error <= 0:
        return HIGHEST
    return min(HIGHEST, 20 * math.log10(peak) - 10 * math.log10(squared_error))


def fit(outputs: Tensor, labels: Tensor) -> float:
    """PSNR of outputs (n,) for labels (n,), dB, in which the peak is the largest absolute label, as released."""
    return psnr(float(((outputs - labels) ** 2).mean()), float(labels.abs().max()))


def support_overlap(found: Tensor, planted: Tensor) -> float:
    """Share of the planted support, in percent, that is in the found one under the best matching of units.

    `found`, `planted`: (m, d) weights. The matching is that of the linear assignment problem.
    """
    there = (planted != 0).double()
    common = there @ (found != 0).double().T
    rows, columns = linear_sum_assignment(common.numpy(), maximize=True)
    return 100 * float(common[rows, columns].sum() / there.sum())


def weight_error(found: Tensor, planted: Tensor) -> float:
    """|found - planted| / |planted| under the matching of units that makes it least."""
    distances = torch.cdist(planted, found, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    rows, columns = linear_sum_assignment(distances.numpy())
    return math.sqrt(float(distances[rows, columns].sum())) / float(planted.norm())


def recovery(problem: Planted, weights: Tensor) -> dict[str, float]:
    """PSNR of the network with hidden weights (m, d) and output weights 1, its support and its weights."""
    return {
        "psnr": fit(outputs(problem.inputs, weights), problem.labels),
        "support_overlap": support_overlap(weights, problem.weights),
        "weight_error": weight_error(weights, problem.weights),
    }
