"""Leave out input features that no kept weight reads.

At 3.6 % density a LeNet ticket reads about half of MNIST's pixels. A column of the first weight matrix whose mask is
empty adds exact zeros to every pre-activation and receives no update, so the smaller network is the same
network, and its steps are cheaper. Sums are taken in another order, so the last bit may differ from the full
network's; whether a replica is compacted depends on its own mask alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.datasets.dataset import Dataset


@dataclass(frozen=True)
class Columns:
    """The input features a replica uses; `used` is None where it uses all of them."""

    weight: str
    used: Tensor | None
    width: int

    @staticmethod
    def of(weight: str, masks: Mapping[str, Tensor]) -> Columns:
        """Columns of matrix `weight` (out, in) in which the mask keeps anything."""
        alive = masks[weight].any(dim=0)
        used = alive.nonzero().flatten()
        # An empty or full selection is left as it is: nothing to gain, and a matrix of width 0 trains nothing.
        return Columns(weight, used if 0 < len(used) < len(alive) else None, len(alive))

    @property
    def count(self) -> int:
        """Input features of the compacted network."""
        return self.width if self.used is None else len(self.used)

    def inputs(self, data: Tensor) -> Tensor:
        """(n, ...) examples with only the used features, (n, count)."""
        return data.flatten(1) if self.used is None else data.flatten(1)[:, self.used]

    def shrink(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state (or masks) for the compacted network."""
        return {n: t[:, self.used] if n == self.weight and self.used is not None else t for n, t in state.items()}

    def restore(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The full network's state, or a part of it; the columns left out are zero, as their masks say."""
        full = {name: tensor.detach().clone() for name, tensor in state.items()}
        if self.used is not None and self.weight in full:
            full[self.weight] = torch.zeros(full[self.weight].shape[0], self.width)
            full[self.weight][:, self.used] = state[self.weight].detach()
        return full


def usable(masks: Mapping[str, Tensor], weight: str, dataset: Dataset) -> bool:
    """Whether compaction applies: the input matrix is prunable and reads the flat input, which is held as floats."""
    floats = dataset.train_inputs.is_floating_point()
    return floats and weight in masks and masks[weight].shape[1] == dataset.train_inputs[0].numel()
