"""The recovery theorem where it applies and where it does not: plain IHT with oracle patterns, its conditions counted.

Fridovich-Keil & Pilanci (arXiv 2509.20323). The theorem keeps k >= 32 (beta / alpha)^2 s weights, more than most
networks have; the experiments keep k = s. Both are run here, under the planted network's own patterns, on labels in
float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from benchmark.analyses.analysis import Analysis, Findings
from benchmark.analyses.recovery.isometry import certified, least_active, least_apart, sampled
from benchmark.analyses.recovery.planted import (
    Planted,
    labelled,
    opposite_weights,
    planted_weights,
    shape_of,
)
from benchmark.analyses.recovery.sensing import Sensing
from benchmark.analyses.recovery.solver import plain_iht
from benchmark.analyses.setting import Setting
from benchmark.protocols.analysis import ANALYSES

EXACT = 1e-6  # relative error of the weights below which they count as recovered: float64 allows for 1e-12
CONVERGED = 1e-12  # where iterating ends; below it rounding rules
SUPPORTS = 50  # drawn for the sampled isometry


@ANALYSES.register("recovery-guarantee")
class RecoveryGuarantee(Analysis):
    """Error of the fused weights after `steps` iterations at most, eta = 2 / (3 beta), columns of A normalised.

    `planted`: "free", every support alike; "opposite", units in pairs whose weights point against each other, so that
    their patterns share no example. `kept`: "theorem", k = 32 (beta / alpha)^2 s with certified bounds, or all weights
    where there are fewer; "planted", k = s.
    """

    paper = (
        "Fridovich-Keil & Pilanci 2026, A Recovery Guarantee for Sparse Neural Networks, arXiv 2509.20323 (Theorem 1)"
    )
    units: ClassVar[Mapping[str, str]] = {
        "exact": "percent",
        "weight_error": "relative",
        "condition_met": "percent",
        "needed_share": "percent",
        "kept_weights": "weights",
        "columns": "weights",
        "alpha": "eigenvalue",
        "beta": "eigenvalue",
        "sampled_alpha": "eigenvalue",
        "sampled_beta": "eigenvalue",
        "least_active": "percent",
        "least_apart": "percent",
        "contraction": "per step",
        "iterations": "steps",
    }

    def __init__(self, kept: str = "theorem", planted: str = "free", examples: int = 20_000, steps: int = 2000) -> None:
        if kept not in ("theorem", "planted") or planted not in ("free", "opposite"):
            raise ValueError("kept is theorem or planted, planted is free or opposite")
        if min(examples, steps) < 1:
            raise ValueError("examples and steps are 1 at least")
        self.kept, self.planted, self.examples, self.steps = kept, planted, examples, steps

    def measure(self, setting: Setting) -> Findings:
        """`exact`: 100 where the weights are recovered to `EXACT`, else 0. `condition_met`: 100 where the theorem's k
        is no more than the columns; `needed_share`: the columns in percent of that k, 0 where it is infinite.
        `contraction`: the geometric mean factor of the error per step until it has converged."""
        problem, sparsity = self._problem(setting)
        sensing = Sensing.of(problem.inputs, problem.weights)
        norms = sensing.column_norms()
        gram = sensing.gram() / torch.outer(norms.flatten(), norms.flatten())
        bounds, columns = certified(gram), len(gram)
        needed = bounds.needed(sparsity)
        kept = sparsity if self.kept == "planted" else int(min(needed, columns))
        typical = sampled(gram, min(columns, 2 * sparsity), SUPPORTS, setting.rng("supports"))
        errors = self._errors(problem, sensing, norms, kept, bounds.step_size, setting)
        numbers = {
            "exact": 100.0 * (errors[-1] <= EXACT),
            "weight_error": errors[-1],
            "condition_met": 100.0 * (needed <= columns),
            "needed_share": 100 * columns / needed if math.isfinite(needed) else 0.0,
            "kept_weights": float(kept),
            "columns": float(columns),
            "alpha": bounds.alpha,
            "beta": bounds.beta,
            "sampled_alpha": typical.alpha,
            "sampled_beta": typical.beta,
            "least_active": least_active(sensing.patterns),
            "least_apart": least_apart(sensing.patterns),
            "contraction": contraction(errors),
            "iterations": float(len(errors) - 1),
        }
        steps = len(errors) - 1
        return Findings(numbers, {"weight_error": np.array(errors)}, steps, steps * self.examples)

    def _problem(self, setting: Setting) -> tuple[Planted, int]:
        """The planted network, without units that have no weight, and how many weights it has."""
        units, width = shape_of(setting.protocol)
        sparsity, rng = sum(setting.counts.values()), setting.rng("planted", self.planted)
        plant = opposite_weights if self.planted == "opposite" else planted_weights
        weights = plant(units, width, sparsity, rng)
        weights = weights[(weights != 0).any(1)]
        return labelled(weights, self.examples, setting.rng("inputs"), rounded=False), sparsity

    def _errors(
        self, problem: Planted, sensing: Sensing, norms: Tensor, kept: int, size: float, setting: Setting
    ) -> list[float]:
        """Relative error of the weights before the first step, which is 1, and after each."""
        wanted, errors = problem.weights * norms, [1.0]
        iterates = plain_iht(
            lambda w: sensing.apply(w / norms), lambda r: sensing.adjoint(r) / norms, problem.labels, kept, size,
            torch.zeros_like(wanted),
        )  # fmt: skip
        for weights in islice(iterates, self.steps):
            errors.append(float((weights - wanted).norm() / wanted.norm()))
            if len(errors) % 100 == 0:
                setting.progress(len(errors), self.steps)
            if errors[-1] <= CONVERGED:
                break
        return errors


def contraction(errors: list[float]) -> float:
    """Geometric mean of the factor by which the error changes in a step; below 1 where it shrinks."""
    return float((errors[-1] / errors[0]) ** (1 / (len(errors) - 1))) if errors[-1] > 0 else 0.0
