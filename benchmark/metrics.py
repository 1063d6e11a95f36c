"""Names of what is measured of a trained network, of its mask and of the scores behind it."""

from __future__ import annotations

from typing import Literal

Accuracy = Literal["early-stop-accuracy", "last-accuracy", "best-accuracy"]
TrainedMetric = Accuracy | Literal["train-accuracy", "early-stop-step"]
MaskMetric = Literal["empty-layers", "layer-density", "unit-error", "score-slope", "prune-to-cut"]
Metric = TrainedMetric | MaskMetric | Literal["layer-share"]
