"""ResNets of basic blocks (He et al. 2016, arXiv 1512.03385): ResNet-20 to -56 of CIFAR, and ResNet-18."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import max_pool2d, pad

from benchmark.networks.layers import batch_norm, norm_relu
from benchmark.networks.registry import FAMILIES
from benchmark.protocols.network import ResNetSpec


class Block(nn.Module):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)); the first convolution has the stride.

    `starts`: whether it is the first block of a stage.
    """

    def __init__(self, spec: ResNetSpec, inputs: int, outputs: int, stride: int, starts: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = batch_norm(spec.batch_norm, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = batch_norm(spec.batch_norm, outputs)
        self.stride, self.new_channels = stride, outputs - inputs
        self.changes = stride != 1 or inputs != outputs or (starts and spec.first_stage == "shortcut")
        self.convolves = self.changes and spec.shortcut == "convolution"
        if self.convolves:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut_bn = batch_norm(spec.batch_norm, outputs)

    def skip(self, x: Tensor) -> Tensor:
        """The shortcut. Option A takes every second pixel and appends channels of zeros."""
        if self.convolves:
            projected: Tensor = self.shortcut_bn(self.shortcut(x))
            return projected
        if self.changes:
            return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
        return x

    def forward(self, x: Tensor) -> Tensor:
        h = norm_relu(self.bn1, self.conv1(x))
        return norm_relu(self.bn2, self.conv2(h), self.skip(x))


@FAMILIES.register("resnet")
class ResNet(nn.Module):
    """Stem, stages of blocks, the mean over all pixels, one linear layer.

    Input (n, *spec.input); output (n, classes) logits. Tensors: conv, bn, stage1.block1.conv1, ..., fc. There is a
    shortcut tensor in the first stage, whose shape does not change, only where the protocol asks for it.
    """

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        channels, stem = spec.stages[0][0], spec.stem
        self.conv = nn.Conv2d(spec.input[0], channels, stem.kernel, stem.stride, padding=stem.kernel // 2, bias=False)
        self.bn = batch_norm(spec.batch_norm, channels)
        self.max_pool = stem.max_pool != "none"
        self.stages = len(spec.stages)
        for number, (width, blocks) in enumerate(spec.stages, start=1):
            stage = nn.Sequential()
            for position in range(1, blocks + 1):
                stride = 2 if number > 1 and position == 1 else 1
                stage.add_module(f"block{position}", Block(spec, channels, width, stride, position == 1))
                channels = width
            self.add_module(f"stage{number}", stage)
        self.fc = nn.Linear(channels, spec.classes)

    def forward(self, x: Tensor) -> Tensor:
        h = norm_relu(self.bn, self.conv(x))
        if self.max_pool:
            h = max_pool2d(h, 3, 2, padding=1)
        for number in range(1, self.stages + 1):
            h = self.get_submodule(f"stage{number}")(h)
        logits: Tensor = self.fc(h.mean((2, 3)))
        return logits
