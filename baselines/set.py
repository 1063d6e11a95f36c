"""SET: sparse evolutionary training. Mocanu et al., Nature Communications 2018, arXiv 1707.04780."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmark.api import MovingMasks, Run


class Set(MovingMasks):
    """Weights of least magnitude make room for others drawn at random among those that are not left."""

    paper = "Mocanu et al. 2018, arXiv 1707.04780"

    def grow_scores(self, run: Run) -> Mapping[str, Tensor]:
        """Uniform random numbers."""
        rng = run.rng("grow")
        return {name: torch.rand(mask.shape, generator=rng).to(mask.device) for name, mask in run.masks.items()}
