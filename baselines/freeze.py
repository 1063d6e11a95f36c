"""Linear probing and its like: some layers are trained, all others stay as they are (Mehta 2019, arXiv 1905.07785)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from benchmark.api import BadInput, Hook, Recipe, Run


class Freeze(Hook):
    """From the first update on, every parameter outside `trained` keeps its value: neither gradient nor weight decay.

    `trained`: layers by name, with commas between. `batch_norm`: a frozen batch norm normalises by its running
    "statistics", which then stay as they are, in training as in evaluation; or by those of the "batch" while training,
    and its running ones follow the data.
    """

    paper = "Mehta 2019, arXiv 1905.07785"
    moves_masks = False

    def __init__(self, trained: str = "", batch_norm: Literal["statistics", "batch"] = "statistics") -> None:
        self.trained = tuple(filter(None, (name.strip() for name in trained.split(","))))
        self.batch_norm = batch_norm
        self.counts = {"parameters_trained": 0, "parameters_frozen": 0}

    def when(self, recipe: Recipe, updates_per_epoch: int) -> Iterable[int]:  # noqa: ARG002
        """See `Hook`: once, before the first update."""
        return [0]

    def at(self, step: int, run: Run) -> None:  # noqa: ARG002
        """See `Hook`. Raises BadInput for a layer that the network has not."""
        layers = {name.rpartition(".")[0] for name, _ in run.network.named_parameters()}
        if unknown := [name for name in self.trained if name not in layers]:
            fix = f"Its layers: {', '.join(sorted(layers))}"
            raise BadInput("hook 'freeze'", f"the network has no layer '{unknown[0]}' to train", fix)
        for name, parameter in run.network.named_parameters():
            trained = name.rpartition(".")[0] in self.trained
            self.counts["parameters_trained" if trained else "parameters_frozen"] += parameter.numel()
            if not trained:
                run.frozen[name] = torch.ones_like(parameter, dtype=torch.bool)
        self._hold_statistics(run.network)

    def _hold_statistics(self, network: nn.Module) -> None:
        if self.batch_norm == "batch":
            return
        for name, module in network.named_modules():
            if isinstance(module, nn.BatchNorm2d) and name not in self.trained:
                module.train = _evaluates.__get__(module)  # type: ignore[method-assign]
                module.train()

    def facts(self) -> Mapping[str, int | float]:
        """See `Hook`: entries of the tensors that were trained, and of those that were not; pruned ones count too."""
        return dict(self.counts)

    def state(self) -> Mapping[str, Tensor]:
        """See `Hook`."""
        return {name: torch.tensor(count) for name, count in self.counts.items()}

    def resume(self, state: Mapping[str, Tensor], run: Run) -> None:
        """See `Hook`."""
        self.counts = {name: int(count) for name, count in state.items()}
        self._hold_statistics(run.network)


def _evaluates(self: nn.Module, _mode: bool = True) -> nn.Module:
    """`Module.train` of a batch norm that stays in evaluation mode."""
    self.training = False
    return self
