"""Networks on a line, whose accuracies are known: for tests of what is measured between two of them."""

from __future__ import annotations

import torch
from torch import nn

from benchmark.datasets.dataset import Dataset


def line_data() -> Dataset:
    """Eight points left and right of 0, labels 0 and 1."""
    inputs = torch.tensor([-4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0])[:, None]
    labels = (inputs[:, 0] > 0).long()
    return Dataset("line", inputs, labels, inputs, labels, 2, "0" * 64)


def classifier(weight: float) -> nn.Module:
    """Right everywhere for a positive weight; for 0 class 0 is said of all, for a negative one everything is wrong."""
    module = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[-weight], [weight]]))
    return module
