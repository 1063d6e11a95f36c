"""LeNet-5-Caffe, the convolutional MNIST network of SNIP (arXiv 1810.02340) and many others: 431,080 parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from benchmark.networks.layers import Head
from benchmark.networks.registry import FAMILIES
from benchmark.protocols.network import LeNet5Spec


@FAMILIES.register("lenet5")
class LeNet5(nn.Module):
    """Convolutions 5x5 without padding, 20 and 50 channels, each max-pooled; 500 hidden units with ReLU.

    Caffe's lenet.prototxt and SNIP's code have no ReLU after the convolutions, many copies do: a field says which.
    Input (n, *spec.input), or flat as MNIST is held; output (n, classes) logits. Tensors: conv1, conv2, head.fc1,
    head.fc2.
    """

    def __init__(self, spec: LeNet5Spec) -> None:
        super().__init__()
        self.shape, self.relu = spec.input, spec.relu_after_convolutions
        self.conv1 = nn.Conv2d(spec.input[0], 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.head = Head((spec.flat, 500, spec.classes), None)

    def forward(self, x: Tensor) -> Tensor:
        h = x.reshape(len(x), *self.shape)
        for convolution in (self.conv1, self.conv2):
            h = max_pool2d(convolution(h), 2)
            h = torch.relu(h) if self.relu else h
        logits: Tensor = self.head(h)
        return logits
