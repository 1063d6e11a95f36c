"""Numbers of one record's mask and of the scores behind it. No torch."""

from __future__ import annotations

import math
from statistics import linear_regression
from typing import get_args

from benchmark.metrics import MaskMetric
from benchmark.records import Record

MASK_METRICS: tuple[str, ...] = get_args(MaskMetric)


def mask_number(record: Record, metric: str) -> float | None:
    """One mask metric of a record; None where the record does not hold it. Errors and ratios as they are.

    `empty-layers` is their number, `layer-density` of the whole mask.
    """
    if record.mask is not None and metric == "empty-layers":
        return float(len(record.mask.collapsed_layers))
    if record.mask is not None and metric == "layer-density":
        return record.mask.density
    if metric == "score-slope":
        return score_slope(record)
    fields = {"unit-error": "unit_error_largest", "prune-to-cut": "prune_to_cut_largest"}
    return getattr(record.scores, fields[metric], None) if metric in fields else None


def score_slope(record: Record) -> float | None:
    """Least-squares slope of log(mean score of a layer) on log(its size); -1 if the sums are equal.

    The mean is over the weights that were scored, by the absolute value of their sum: GraSP's has a sign. None if
    fewer than two layers, or a layer without score, were scored.
    """
    if record.scores is None:
        return None
    layers = record.scores.layers.values()
    if len(layers) < 2 or not all(layer.sum and layer.scored for layer in layers):
        return None
    sizes = [math.log(layer.scored) for layer in layers]
    if len(set(sizes)) < 2:
        return None
    return linear_regression(sizes, [math.log(abs(layer.sum) / layer.scored) for layer in layers]).slope
