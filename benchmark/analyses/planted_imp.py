"""Iterative magnitude pruning on the data of a planted sparse network: what IHT is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from benchmark.analyses.analysis import Analysis, Findings
from benchmark.analyses.recovery.imp import Budget, fused, pruned
from benchmark.analyses.recovery.measures import UNITS, fit, recovery
from benchmark.analyses.recovery.planted import Planted, planted_in
from benchmark.analyses.setting import Setting
from benchmark.networks.mlp import Mlp
from benchmark.protocols.analysis import ANALYSES


@ANALYSES.register("planted-imp")
class PlantedImp(Analysis):
    """Recovery by rounds of `updates` full-batch Adam updates at `learning_rate`, a tenth pruned after each.

    The planted network, its data and its seed are those of `iht`. As many weights are left as were planted, output
    weights among them, as the released baseline counts. PSNR is of the network after its last round of training;
    support and weight error are of its fused weights.
    """

    paper = (
        "Fridovich-Keil & Pilanci 2026, A Recovery Guarantee for Sparse Neural Networks, arXiv 2509.20323 (baseline)"
    )
    units: ClassVar[Mapping[str, str]] = UNITS

    def __init__(self, updates: int = 15, learning_rate: float = 1e-3, examples: int = 20_000) -> None:
        if min(updates, examples) < 1 or learning_rate <= 0:
            raise ValueError("updates and examples are 1 at least, learning_rate above 0")
        self.budget, self.examples = Budget(updates, learning_rate), examples

    def measure(self, setting: Setting) -> Findings:
        """The numbers after the last round; curves of PSNR and of the weights left after each."""
        problem, sparsity = planted_in(setting, self.examples)
        widths, network = setting.protocol.network.input_shape[0], setting.network()
        initial = {name: value.detach().clone() for name, value in network.state_dict().items()}
        units = len(problem.weights)

        def make(inputs: int | None) -> nn.Module:
            return Mlp((inputs or widths, units, 1))

        curve, left, updates = [], [], 0
        for outcome in pruned(problem, make, initial, sparsity, self.budget, setting.seed):
            network.load_state_dict(outcome.weights)
            curve.append(network_fit(network, problem))
            left.append(sum(int((outcome.weights[name] != 0).sum()) for name in outcome.weights))
            updates += outcome.steps
            setting.progress(len(curve), len(curve) + 1)
        numbers = recovery(problem, fused(outcome.weights)) | {"psnr": curve[-1]}
        rounds = np.arange(len(curve))
        curves = {"round": rounds, "psnr": np.array(curve), "weights_left": np.array(left)}
        return Findings(numbers, curves, updates, updates * self.examples)


@torch.no_grad()
def network_fit(network: nn.Module, problem: Planted) -> float:
    """PSNR of the network's own outputs, computed in float32 as it was trained, dB."""
    return fit(network(problem.inputs.float())[:, 0].double(), problem.labels)
