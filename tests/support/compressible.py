"""A small trained-looking convolutional network, as compressors are given it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.api import Network


class Small(nn.Module):
    """Two 3x3 convolutions, the second strided, on (2, 6, 6), then a linear layer to 4 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 5, 3, padding=1)
        self.conv2 = nn.Conv2d(5, 3, 3, stride=2, bias=False)
        self.head = nn.Linear(3 * 2 * 2, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.conv1(x))
        logits: Tensor = self.head(torch.relu(self.conv2(h)).flatten(1))
        return logits


def network(module: nn.Module | None = None, shape: tuple[int, ...] = (2, 6, 6), classes: int = 4) -> Network:
    """A `Network` of `module`, all of whose convolution and linear weights are prunable."""
    torch.manual_seed(3)
    module = module or Small()
    state = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    wide = [n for n, p in module.named_parameters() if n.endswith("weight") and p.dim() > 1]
    weights = {name: state[name] for name in wide}
    others = {name: tensor for name, tensor in state.items() if name not in weights}
    ones = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    return Network(module, weights, others, ones, shape, classes)
