"""How many weights a training with trainable thresholds leaves, and how accurate the network is, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmark.analyses.analysis import Analysis, Findings
from benchmark.analyses.setting import Setting
from benchmark.plugins.load import make_hook
from benchmark.plugins.registry import PluginSource, locate
from benchmark.protocols import Protocol
from benchmark.protocols.analysis import ANALYSES
from benchmark.protocols.cells import Cell
from benchmark.training.batches import batches_per_epoch
from benchmark.training.hooks import CountsLeft, Hook
from benchmark.training.learner import event_steps
from benchmark.training.replicas import Outcome
from benchmark.utils.errors import BadInput

HOOK = "dst"
Numbers = NDArray[Any]


@ANALYSES.register("trainable-thresholds")
class TrainableThresholds(Analysis):
    """The measure of DST (Liu et al. 2020, arXiv 2005.06870, Table 1 and Fig. 3): its density is an outcome of the
    training, as the accuracy is, and both change from epoch to epoch.

    `epochs`: after which the numbers are taken. `further`: after which the training ends, and two of the numbers are
    taken again; 0 for `epochs`. Neither goes beyond the protocol's recipe; at a constant learning rate the longer
    training begins with the shorter one. `alpha`: of the penalty exp(-t). `thresholds`: false trains the same network
    without any. The protocol's evaluation has to look at the test set after every epoch.
    """

    paper = "Liu et al. 2020, DST, arXiv 2005.06870"
    units: ClassVar[Mapping[str, str]] = {
        "kept": "percent",
        "best_accuracy": "percent",
        "accuracy": "percent",
        "kept_at_best": "percent",
        "kept_in_first": "percent",
        "kept_in_last": "percent",
        "kept_further": "percent",
        "accuracy_further": "percent",
        "resets": "count",
    }

    def __init__(self, epochs: int = 20, further: int = 0, alpha: float = 5e-4, thresholds: bool = True) -> None:
        if epochs < 1 or 0 < further < epochs or alpha < 0:
            raise ValueError(f"epochs {epochs} is below 1 or above further, {further}, or alpha {alpha} below 0")
        self.epochs, self.further, self.alpha, self.thresholds = epochs, further or epochs, alpha, thresholds

    def plugins(self) -> tuple[PluginSource, ...]:
        """The hook that trains thresholds, if one does."""
        return (locate(HOOK, kind="hook"),) if self.thresholds else ()

    def needs(self, protocol: Protocol, cell: Cell) -> tuple[Cell, ...]:
        """No network: the training is part of the measure. Raises BadInput."""
        if not protocol.examined.trains or protocol.task != "classification":
            thing = f"{protocol.id}: methods.{cell.method}"
            raise BadInput(thing, "measures trainings of classifiers", "Name a protocol that trains them")
        recipe = protocol.recipe
        if self.further > self.epochs and (recipe.drops or recipe.cosine or recipe.warm_up):
            thing = f"{protocol.id}: methods.{cell.method}"
            raise BadInput(thing, "goes further under a changing learning rate", "Leave further out")
        return ()

    def measure(self, setting: Setting) -> Findings:
        """The numbers of `units`; curves `accuracy` (epochs,) and, by layer, `kept` (epochs, layers), both in percent.

        `kept`, `accuracy`: after the last of `epochs`. `best_accuracy`: the largest after any of them, of which
        `kept_at_best` is the first. `kept_in_first`, `kept_in_last`: of the first and last prunable tensor, after the
        last. `kept_further`, `accuracy_further`: at the end of the training. `resets`: in all of it.
        """
        accuracies, left, resets, outcome = self._trained(setting)
        if outcome.failure:
            return Findings(dict.fromkeys(self.units, float("nan")), {}, outcome.steps, outcome.examples)
        sizes = np.array(list(setting.protocol.pruning.tensor_sizes.values()))
        kept, last = 100 * left.sum(1) / sizes.sum(), min(self.epochs, len(left)) - 1
        best = int(accuracies[: self.epochs].argmax())
        numbers = {
            "kept": kept[last],
            "best_accuracy": accuracies[best],
            "accuracy": accuracies[last],
            "kept_at_best": kept[best],
            "kept_in_first": 100 * left[last][0] / sizes[0],
            "kept_in_last": 100 * left[last][-1] / sizes[-1],
            "kept_further": kept[-1],
            "accuracy_further": accuracies[-1],
            "resets": resets,
        }
        curves = {"accuracy": accuracies, "kept": 100 * left / sizes}
        return Findings({n: float(v) for n, v in numbers.items()}, curves, outcome.steps, outcome.examples)

    def _trained(self, setting: Setting) -> tuple[Numbers, Numbers, float, Outcome]:
        """Accuracies (epochs,) in percent, weights left (epochs, layers), thresholds set back, and the training."""
        per_epoch = batches_per_epoch(setting.protocol.recipe, len(setting.split().training))
        made: list[CountsLeft] = []

        def hooks() -> list[Hook]:
            hook = make_hook(locate(HOOK, kind="hook"), {"alpha": self.alpha})
            assert isinstance(hook, CountsLeft)
            made[:] = [hook]
            return [hook]

        steps = min(self.further * per_epoch, setting.protocol.recipe.steps)
        outcome = setting.train(setting.network().state_dict(), steps=steps, hooks=hooks if self.thresholds else None)
        looks = dict(zip(outcome.history.test_steps, outcome.history.test, strict=True))
        wanted = event_steps(steps, per_epoch)
        if not outcome.failure and (missed := [step for step in wanted if step not in looks]):
            cause = f"does not look at the test set after {missed[0]} updates, the end of an epoch"
            raise BadInput(f"{setting.protocol.id}: evaluation", cause, f"Set first and test_every to {per_epoch}")
        accuracies = np.array([looks[step]["accuracy"] for step in wanted if step in looks])
        if made:
            return accuracies, np.array(made[0].left), float(made[0].facts()["threshold_resets"]), outcome
        sizes = list(setting.protocol.pruning.tensor_sizes.values())
        return accuracies, np.array([sizes] * len(accuracies)), 0.0, outcome
