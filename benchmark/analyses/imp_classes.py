"""Iterative magnitude pruning on all ten digits: what hard thresholding is compared with there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.analyses.analysis import Analysis, Findings
from benchmark.analyses.recovery.classes import digits_of, layers_of
from benchmark.analyses.recovery.imp import Budget, pruned
from benchmark.analyses.setting import Setting
from benchmark.networks.mlp import Mlp
from benchmark.protocols.analysis import ANALYSES


@ANALYSES.register("imp-classes")
class ImpClasses(Analysis):
    """Accuracy on all test images by rounds of `updates` full-batch Adam updates on the cross-entropy, a tenth pruned
    after each, rewound to initialization.

    `pixels`: as in `iht-classes`; the released baseline is handed the same bytes. As many weights of both layers are
    left as that keeps. Numbers are of the network after its last round of training.
    """

    paper = (
        "Fridovich-Keil & Pilanci 2026, A Recovery Guarantee for Sparse Neural Networks, arXiv 2509.20323 (baseline)"
    )
    units: ClassVar[Mapping[str, str]] = {
        "test_accuracy": "percent",
        "train_accuracy": "percent",
        "train_loss": "nats",
    }

    def __init__(self, updates: int = 50, learning_rate: float = 1e-3, pixels: float = 255.0) -> None:
        if updates < 1 or learning_rate <= 0 or pixels <= 0:
            raise ValueError("updates is 1 at least, learning_rate and pixels are above 0")
        self.budget, self.pixels = Budget(updates, learning_rate), pixels

    def measure(self, setting: Setting) -> Findings:
        """The numbers after the last round; curves of the test accuracy and of the weights left after each."""
        problem, network = digits_of(setting, self.pixels), setting.network()
        initial = {name: value.detach().clone() for name, value in network.state_dict().items()}
        units, width, classes = layers_of(setting.protocol)

        def make(inputs: int | None) -> nn.Module:
            return Mlp((inputs or width, units, classes))

        @torch.no_grad()
        def logits(inputs: Tensor) -> Tensor:
            found: Tensor = network(inputs.float())
            return found

        curve, left, updates = [], [], 0
        for outcome in pruned(problem, make, initial, sum(setting.counts.values()), self.budget, setting.seed):
            network.load_state_dict(outcome.weights)
            curve.append(problem.test_accuracy(logits))
            left.append(sum(int((value != 0).sum()) for value in outcome.weights.values()))
            updates += outcome.steps
            setting.progress(len(curve), len(curve) + 1)
        curves = {"round": np.arange(len(curve)), "test_accuracy": np.array(curve), "weights_left": np.array(left)}
        return Findings(problem.numbers(logits), curves, updates, updates * len(problem.labels))
