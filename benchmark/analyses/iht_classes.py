"""Iterative hard thresholding on all ten digits of MNIST: hidden and output weights under one budget.

Fridovich-Keil & Pilanci (arXiv 2509.20323), by the released rule for several outputs. The cell's level says how many
weights of both layers are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import ClassVar, cast

import numpy as np

from benchmark.analyses.analysis import Analysis, Findings
from benchmark.analyses.recovery.classes import (
    RANKINGS,
    Ranking,
    digits_of,
    iht_of_classes,
    layers_of,
    uniform_start,
)
from benchmark.analyses.setting import Setting
from benchmark.protocols.analysis import ANALYSES
from benchmark.utils.seeding import portable_normals

LOOK = 25  # steps from one accuracy of the curve to the next


@ANALYSES.register("iht-classes")
class IhtClasses(Analysis):
    """Accuracy on all test images after `steps` full-batch steps of the size `step_size` for both layers.

    `pixels`: what images in [0, 1] are multiplied by; 255 gives the bytes that the released loader hands over, and with
    them the released 0.001 is a step, because the gradient of the hidden weights grows with its square. `ranked`: which
    weights stay, see `iht_of_classes`. Numbers are of the network whose weights were found; its patterns are its own.
    """

    paper = "Fridovich-Keil & Pilanci 2026, A Recovery Guarantee for Sparse Neural Networks, arXiv 2509.20323"
    units: ClassVar[Mapping[str, str]] = {
        "test_accuracy": "percent",
        "train_accuracy": "percent",
        "train_loss": "nats",
        "output_weights": "weights",
        "dead_units": "units",
    }

    def __init__(
        self, steps: int = 500, step_size: float = 0.001, pixels: float = 255.0, ranked: str = "accumulated"
    ) -> None:
        if steps < 1 or step_size <= 0 or pixels <= 0:
            raise ValueError("steps is 1 at least, step_size and pixels are above 0")
        if ranked not in RANKINGS:
            raise ValueError(f"ranked '{ranked}' is none of {', '.join(RANKINGS)}")
        self.steps, self.step_size, self.pixels = steps, step_size, pixels
        self.ranked = cast("Ranking", ranked)

    def measure(self, setting: Setting) -> Findings:
        """The numbers after the last step; a curve of the test accuracy."""
        problem, (units, width, outputs) = digits_of(setting, self.pixels), layers_of(setting.protocol)
        generators = portable_normals((units, width), setting.rng("generators")).double()
        start = uniform_start(units, width, outputs, setting.rng("start"))
        kept, steps, curve, layers = sum(setting.counts.values()), [], [], start
        solver = iht_of_classes(problem, generators, start, kept, self.step_size, self.ranked)
        for step, layers in enumerate(islice(solver, self.steps), start=1):
            if step % LOOK == 0 or step == self.steps:
                steps.append(step)
                curve.append(problem.test_accuracy(layers.logits))
                setting.progress(step, self.steps)
        numbers = {
            **problem.numbers(layers.logits),
            "output_weights": float((layers.output != 0).sum()),
            "dead_units": float(layers.dead),
        }
        curves = {"step": np.array(steps), "test_accuracy": np.array(curve)}
        return Findings(numbers, curves, self.steps, self.steps * len(problem.labels))
