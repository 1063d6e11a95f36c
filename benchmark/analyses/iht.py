"""Iterative hard thresholding from scratch on a planted sparse network, by the steps of the released solver.

Fridovich-Keil & Pilanci (arXiv 2509.20323): patterns of activation are fixed for K steps, in which the problem is
linear in the fused weights, and are then those of the weights found. The cell's level says how many weights are planted
and kept; the protocol's network how many inputs and hidden units there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import ClassVar

import numpy as np

from benchmark.analyses.analysis import Analysis, Findings
from benchmark.analyses.recovery.measures import UNITS, fit, recovery
from benchmark.analyses.recovery.planted import outputs, planted_in
from benchmark.analyses.recovery.sensing import Patterns, Sensing, fixed, refreshed
from benchmark.analyses.recovery.solver import INNER_STEPS, accelerated_iht
from benchmark.analyses.setting import Setting
from benchmark.protocols.analysis import ANALYSES
from benchmark.utils.seeding import portable_normals


@ANALYSES.register("iht")
class Iht(Analysis):
    """Recovery after `steps` steps on `examples` examples, patterns refreshed after every `refresh` of them.

    Patterns begin with standard normal generators; with `oracle` they are the planted network's own and never move,
    which makes the problem the linear one of the theorem. PSNR is of the network whose weights were found, as released,
    whatever patterns they were fitted under.
    """

    paper = "Fridovich-Keil & Pilanci 2026, A Recovery Guarantee for Sparse Neural Networks, arXiv 2509.20323"
    units: ClassVar[Mapping[str, str]] = {**UNITS, "dead_units": "units", "given_up": "inner steps"}

    def __init__(self, refresh: int = 1, steps: int = 100, examples: int = 20_000, oracle: bool = False) -> None:
        if min(refresh, steps, examples) < 1:
            raise ValueError("refresh, steps and examples are 1 at least")
        self.refresh, self.steps, self.examples, self.oracle = refresh, steps, examples, oracle

    def measure(self, setting: Setting) -> Findings:
        """The numbers after the last step; curves of PSNR and of the objective after each."""
        problem, sparsity = planted_in(setting, self.examples)
        patterns: Patterns
        if self.oracle:
            start, patterns = Sensing.of(problem.inputs, problem.weights), fixed
        else:
            generators = portable_normals(tuple(problem.weights.shape), setting.rng("generators")).double()
            start, patterns = Sensing.of(problem.inputs, generators), refreshed(problem.inputs, self.refresh)
        curve, objective, given_up = [], [], 0
        for iterate in islice(accelerated_iht(problem.labels, start, sparsity, patterns), self.steps):
            curve.append(fit(outputs(problem.inputs, iterate.weights), problem.labels))
            objective.append(iterate.objective)
            given_up += iterate.gave_up
            setting.progress(iterate.step, self.steps)
        dead = int((iterate.weights == 0).all(1).sum())
        numbers = {**recovery(problem, iterate.weights), "dead_units": float(dead), "given_up": float(given_up)}
        gradients = self.steps * (1 + INNER_STEPS)
        step = np.arange(1, self.steps + 1)
        curves = {"step": step, "psnr": np.array(curve), "objective": np.array(objective)}
        return Findings(numbers, curves, gradients, gradients * self.examples)
