"""How much of a trained network can go before its accuracy falls below a floor: lowest scores first, no retraining."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.analyses.analysis import Analysis, Findings
from benchmark.analyses.setting import Setting
from benchmark.datasets.dataset import Dataset
from benchmark.plugins.load import make_hook
from benchmark.plugins.registry import PluginSource, locate
from benchmark.protocols import Protocol
from benchmark.protocols.analysis import ANALYSES
from benchmark.protocols.cells import DENSE, Cell
from benchmark.training.evaluate import chunk_of
from benchmark.training.hooks import GathersScores
from benchmark.utils.errors import BadInput

Scores = Mapping[str, Tensor]
Kind = Literal["magnitude", "movement", "random", "bingo"]


@ANALYSES.register("accuracy-floor")
class AccuracyFloor(Analysis):
    """The measure of BINGO (Panangat 2025, arXiv 2505.09864, Table 1), of any score of trained weights.

    `scores`: magnitude |w|; movement |w - w0|, w0 the initial weights; random; or a hook that gathers some while the
    network is trained ("bingo", with `formula`, `back` and `share`). `floor`: percent of the test set. `allocation`:
    the lowest of all weights go, or as large a share of every tensor. Pruning goes on in steps of `step` of the
    prunable weights until accuracy is below the floor for the first time.
    """

    paper = "Panangat 2025, BINGO, arXiv 2505.09864"
    units: ClassVar[Mapping[str, str]] = {
        "pruned_at_floor": "percent",
        "accuracy": "percent",
        "accuracy_at_floor": "percent",
        "score_passes": "count",
        "training_passes": "count",
    }

    def __init__(
        self,
        scores: Kind = "magnitude",
        floor: float = 90.0,
        allocation: Literal["global", "layerwise"] = "global",
        step: float = 0.01,
        formula: str = "printed",
        back: str = "initial",
        share: float = 0.01,
    ) -> None:
        if not 0 < floor < 100 or not 0 < step <= 0.5:
            raise ValueError(f"floor {floor}, step {step}: percent between 0 and 100, and a share of at most 0.5")
        if scores not in ("magnitude", "movement", "random", "bingo") or allocation not in ("global", "layerwise"):
            raise ValueError(f"scores '{scores}', allocation '{allocation}': none of those there are")
        self.scores, self.floor, self.allocation, self.step = scores, floor, allocation, step
        self.of_hook = {"formula": formula, "back": back, "share": share}

    def plugins(self) -> tuple[PluginSource, ...]:
        """The hook that gathers the scores, if one does."""
        return (locate("bingo", kind="hook"),) if self.scores == "bingo" else ()

    def needs(self, protocol: Protocol, cell: Cell) -> tuple[Cell, ...]:
        """The dense network; none where it is trained here, with the hook. Raises BadInput."""
        if not protocol.examined.trains or protocol.task != "classification":
            raise BadInput(
                f"{protocol.id}: methods.{cell.method}",
                "measures accuracies of trained networks",
                "Name a protocol that trains classifiers",
            )
        return () if self.scores == "bingo" else (Cell(DENSE, 0, cell.seed),)

    def measure(self, setting: Setting) -> Findings:
        """The numbers of `units`; curves `pruned` (steps,), a share of the prunable weights, and `accuracy` (steps,).

        `pruned_at_floor`: the largest share before the first accuracy below the floor. Passes are of a batch each, a
        backward pass counted as two forward ones: of training, and of what the scores took besides.
        """
        assert setting.data is not None  # networks were trained on it
        names = list(setting.protocol.pruning.prunable)
        network, scores, passes, updates, examples = self._scored(setting, names)
        curve, pruned = list[float](), list[float]()
        for count in range(round(1 / self.step) + 1):
            share = min(1.0, count * self.step)
            pruned.append(share)
            curve.append(accuracy(network, kept(scores, 1 - share, self.allocation), setting.data))
            setting.progress(count, round(1 / self.step))
            if curve[-1] < self.floor:
                break
        at = max(len(curve) - 2, 0) if curve[-1] < self.floor else len(curve) - 1
        numbers = {
            "pruned_at_floor": 100 * pruned[at],
            "accuracy": curve[0],
            "accuracy_at_floor": curve[at],
            "score_passes": float(passes),
            "training_passes": 3.0 * setting.protocol.recipe.steps,
        }
        return Findings(numbers, {"pruned": np.array(pruned), "accuracy": np.array(curve)}, updates, examples)

    def _scored(self, setting: Setting, names: list[str]) -> tuple[nn.Module, Scores, int, int, int]:
        """The trained network, its scores, forward passes that these took, and updates and examples spent here."""
        if self.scores == "bingo":
            made: list[GathersScores] = []

            def gather() -> list[GathersScores]:
                hook = make_hook(locate("bingo", kind="hook"), self.of_hook)
                assert isinstance(hook, GathersScores)
                made[:] = [hook]
                return made

            outcome = setting.train(setting.network().state_dict(), hooks=gather)
            (hook,) = made
            network = setting.network()
            network.load_state_dict(outcome.weights)
            return network.eval(), hook.scores, hook.forward_passes, outcome.steps, outcome.examples
        (network,) = setting.networks.values()
        weights = {name: network.get_parameter(name).detach() for name in names}
        if self.scores == "movement":
            initial = setting.network()
            moved = {name: (weight - initial.get_parameter(name).detach()).abs() for name, weight in weights.items()}
            return network, moved, 0, 0, 0
        if self.scores == "magnitude":
            return network, {name: weight.abs() for name, weight in weights.items()}, 0, 0, 0
        generator = setting.rng("random scores")
        return network, {n: torch.rand(weight.shape, generator=generator) for n, weight in weights.items()}, 0, 0, 0


def kept(scores: Scores, density: float, allocation: str) -> dict[str, Tensor]:
    """Boolean masks that keep a share `density` of all weights, or of each tensor, highest scores first; of equal ones
    the first."""
    if allocation == "layerwise":
        return {name: _highest(score.flatten(), density) for name, score in scores.items()}
    flat = torch.cat([score.flatten().double() for score in scores.values()])
    whole = _highest(flat, density)
    parts = torch.split(whole, [score.numel() for score in scores.values()])
    return dict(zip(scores, parts, strict=True))


def _highest(flat: Tensor, density: float) -> Tensor:
    count = round(density * flat.numel())
    mask = torch.zeros(flat.numel(), dtype=torch.bool)
    mask[torch.argsort(flat, descending=True, stable=True)[:count]] = True
    return mask


@torch.no_grad()
def accuracy(network: nn.Module, masks: Mapping[str, Tensor], data: Dataset) -> float:
    """Percent of the test set that the network gets right under the masks. It comes back as it was."""
    before = {name: network.get_parameter(name).detach().clone() for name in masks}
    for name, mask in masks.items():
        weight = network.get_parameter(name)
        weight.mul_(mask.view_as(weight))
    chunk = chunk_of(data.test_inputs.dim() == 4, "cpu")
    right = 0
    for inputs, labels in zip(torch.split(data.test_inputs, chunk), torch.split(data.test_labels, chunk), strict=True):
        right += int((network(data.prepare(inputs)).argmax(1) == labels).sum())
    for name, value in before.items():
        network.get_parameter(name).copy_(value)
    return 100.0 * right / len(data.test_labels)
