"""Iterative hard thresholding on data that nobody planted a network for: two digits of MNIST, or one image.

Fridovich-Keil & Pilanci (arXiv 2509.20323), by the same solver as `iht`. The cell's level says how many fused weights
are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import ClassVar

import numpy as np

from benchmark.analyses.analysis import Analysis, Findings
from benchmark.analyses.recovery.fits import known, problem_of
from benchmark.analyses.recovery.measures import fit
from benchmark.analyses.recovery.planted import outputs, shape_of
from benchmark.analyses.recovery.sensing import Sensing, refreshed
from benchmark.analyses.recovery.solver import INNER_STEPS, accelerated_iht
from benchmark.analyses.setting import Setting
from benchmark.protocols.analysis import ANALYSES
from benchmark.utils.seeding import portable_normals


@ANALYSES.register("iht-fit")
class IhtFit(Analysis):
    """PSNR on the training data, and accuracy on held-out data where there is some, after `steps` full-batch steps.

    `problem`: "two-digits" or "image", see `recovery.fits`. Patterns begin with standard normal generators and become
    those of the weights after every `refresh` steps. Numbers are of the network whose weights were found.
    """

    paper = "Fridovich-Keil & Pilanci 2026, A Recovery Guarantee for Sparse Neural Networks, arXiv 2509.20323"
    units: ClassVar[Mapping[str, str]] = {"psnr": "dB", "test_accuracy": "percent", "dead_units": "units"}

    makes_examples = True

    def __init__(self, problem: str = "two-digits", refresh: int = 1, steps: int = 100) -> None:
        if min(refresh, steps) < 1:
            raise ValueError("refresh and steps are 1 at least")
        self.problem, self.refresh, self.steps = known(problem), refresh, steps

    def measure(self, setting: Setting) -> Findings:
        """The numbers after the last step; curves of PSNR and of the objective after each."""
        problem = problem_of(setting, self.problem)
        generators = portable_normals(shape_of(setting.protocol), setting.rng("generators")).double()
        start, patterns = Sensing.of(problem.inputs, generators), refreshed(problem.inputs, self.refresh)
        curve, objective = [], []
        for iterate in islice(
            accelerated_iht(problem.labels, start, sum(setting.counts.values()), patterns), self.steps
        ):
            curve.append(fit(outputs(problem.inputs, iterate.weights), problem.labels))
            objective.append(iterate.objective)
            setting.progress(iterate.step, self.steps)
        weights = iterate.weights
        numbers = {"psnr": curve[-1], "dead_units": float((weights == 0).all(1).sum())}
        numbers |= problem.test_accuracy(lambda inputs: outputs(inputs, weights))
        gradients = self.steps * (1 + INNER_STEPS)
        curves = {"step": np.arange(1, self.steps + 1), "psnr": np.array(curve), "objective": np.array(objective)}
        return Findings(numbers, curves, gradients, gradients * len(problem.labels))
