"""Iterative magnitude pruning on the data of `iht-fit`: what hard thresholding is compared with there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.analyses.analysis import Analysis, Findings
from benchmark.analyses.recovery.fits import known, problem_of
from benchmark.analyses.recovery.imp import Budget, pruned
from benchmark.analyses.recovery.measures import fit
from benchmark.analyses.recovery.planted import shape_of
from benchmark.analyses.setting import Setting
from benchmark.networks.mlp import Mlp
from benchmark.protocols.analysis import ANALYSES


@ANALYSES.register("imp-fit")
class ImpFit(Analysis):
    """PSNR and held-out accuracy by rounds of `updates` full-batch Adam updates, a tenth pruned after each.

    `problem`: as in `iht-fit`. As many weights are left as that keeps, output weights among them, as the released
    baseline counts. Numbers are of the network after its last round of training.
    """

    paper = (
        "Fridovich-Keil & Pilanci 2026, A Recovery Guarantee for Sparse Neural Networks, arXiv 2509.20323 (baseline)"
    )
    units: ClassVar[Mapping[str, str]] = {"psnr": "dB", "test_accuracy": "percent"}

    makes_examples = True

    def __init__(self, problem: str = "two-digits", updates: int = 15, learning_rate: float = 1e-3) -> None:
        if updates < 1 or learning_rate <= 0:
            raise ValueError("updates is 1 at least, learning_rate above 0")
        self.problem, self.budget = known(problem), Budget(updates, learning_rate)

    def measure(self, setting: Setting) -> Findings:
        """The numbers after the last round; curves of PSNR and of the weights left after each."""
        problem, network = problem_of(setting, self.problem), setting.network()
        initial = {name: value.detach().clone() for name, value in network.state_dict().items()}
        units, width = shape_of(setting.protocol)

        def make(inputs: int | None) -> nn.Module:
            return Mlp((inputs or width, units, 1))

        @torch.no_grad()
        def outputs(inputs: Tensor) -> Tensor:
            found: Tensor = network(inputs.float())[:, 0]
            return found.double()

        curve, left, updates = [], [], 0
        target = sum(setting.counts.values())
        for outcome in pruned(problem, make, initial, target, self.budget, setting.seed):
            network.load_state_dict(outcome.weights)
            curve.append(fit(outputs(problem.inputs), problem.labels))
            left.append(sum(int((value != 0).sum()) for value in outcome.weights.values()))
            updates += outcome.steps
            setting.progress(len(curve), len(curve) + 1)
        numbers = {"psnr": curve[-1], **problem.test_accuracy(outputs)}
        curves = {"round": np.arange(len(curve)), "psnr": np.array(curve), "weights_left": np.array(left)}
        return Findings(numbers, curves, updates, updates * len(problem.labels))
