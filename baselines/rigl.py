"""RigL: rigged lottery. Evci et al., ICML 2020, arXiv 1911.11134."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor

from benchmark.api import MovingMasks, Run


class RigL(MovingMasks):
    """Weights of least magnitude make room for those whose gradient is largest: |dL / dw| of the next batch, at w = 0.

    The gradient is taken in float64, so that its order does not hang on how a machine adds.
    """

    paper = "Evci et al. 2020, arXiv 1911.11134"
    dense_gradients = 0

    def grow_scores(self, run: Run) -> Mapping[str, Tensor]:
        """Magnitudes of the gradient with respect to every weight, left or not."""
        inputs, labels = run.batch()
        network = deepcopy(run.network).double()
        loss = run.loss(network(inputs.double()), labels)
        names = list(run.masks)
        gradients = torch.autograd.grad(loss, [network.get_parameter(name) for name in names])
        self.dense_gradients += 1
        return {name: gradient.abs() for name, gradient in zip(names, gradients, strict=True)}

    def facts(self) -> Mapping[str, int | float]:
        """Also how many gradients with respect to all weights were taken: each costs a dense update's."""
        return {**super().facts(), "dense_gradients": self.dense_gradients}

    def state(self) -> Mapping[str, Tensor]:
        """See `Hook`."""
        return {**super().state(), "dense_gradients": torch.tensor(self.dense_gradients)}

    def resume(self, state: Mapping[str, Tensor], run: Run) -> None:
        """See `Hook`."""
        super().resume(state, run)
        self.dense_gradients = int(state["dense_gradients"])
