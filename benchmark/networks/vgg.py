"""VGG with batch norm for small images (Simonyan & Zisserman, arXiv 1409.1556; heads as in the pruning papers)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d

from benchmark.networks.layers import Head, batch_norm, norm_relu
from benchmark.networks.registry import FAMILIES
from benchmark.protocols.network import VggShapedSpec


@FAMILIES.register("vgg")
class Vgg(nn.Module):
    """Groups of 3x3 convolution, batch norm, ReLU; 2x2 max-pools between groups, the head's pool after the last.

    Input (n, *spec.input); output (n, classes) logits. Tensors: conv1, bn1, conv2, ..., head.fc.
    """

    def __init__(self, spec: VggShapedSpec) -> None:
        super().__init__()
        self.sizes = [len(group) for group in spec.groups]
        channels = spec.input[0]
        for number, width in enumerate((width for group in spec.groups for width in group), start=1):
            self.add_module(f"conv{number}", nn.Conv2d(channels, width, 3, padding=1, bias=spec.convolution_bias))
            self.add_module(f"bn{number}", batch_norm(spec.batch_norm, width))
            channels = width
        self.last_pool, self.last_size = spec.last_pool.split("-")[0], int(spec.last_pool[-1])
        self.head = Head(spec.head, spec.dropout)

    def forward(self, x: Tensor) -> Tensor:
        number = 0
        for group, size in enumerate(self.sizes):
            x = max_pool2d(x, 2) if group else x
            for _ in range(size):
                number += 1
                x = norm_relu(self.get_submodule(f"bn{number}"), self.get_submodule(f"conv{number}")(x))
        pool = max_pool2d if self.last_pool == "max" else avg_pool2d
        logits: Tensor = self.head(pool(x, self.last_size))
        return logits
