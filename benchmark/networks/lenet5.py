"""LeNet-5-Caffe, the convolutional MNIST network of SNIP (arXiv 1810.02340) and many others, of 431,080 parameters, and
LeNet-5 (LeCun et al. 1998), of 44,426 with max-pools and every channel read by every filter."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from benchmark.networks.layers import Head
from benchmark.networks.registry import FAMILIES
from benchmark.protocols.network import LeNet5Spec


@FAMILIES.register("lenet5")
class LeNet5(nn.Module):
    """Convolutions 5x5 without padding, each max-pooled; hidden units with ReLU. Sizes are the spec's.

    Caffe's lenet.prototxt and SNIP's code have no ReLU after the convolutions, many copies do: a field says which.
    Input (n, *spec.input), or flat as MNIST is held; output (n, classes) logits. Tensors: conv1, conv2, head.fc1,
    head.fc2, and head.fc3 where there are two hidden layers.
    """

    def __init__(self, spec: LeNet5Spec) -> None:
        super().__init__()
        self.shape, self.relu = spec.input, spec.relu_after_convolutions
        first, second = spec.channels
        self.conv1, self.conv2 = nn.Conv2d(spec.input[0], first, 5), nn.Conv2d(first, second, 5)
        self.head = Head(spec.head, None)
        if spec.name == "lenet-5":  # half of an update's time on a CPU: 6 channels do not fill a vector otherwise
            self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        h = x.reshape(len(x), *self.shape)
        for convolution in (self.conv1, self.conv2):
            h = max_pool2d(convolution(h), 2)
            h = torch.relu(h) if self.relu else h
        logits: Tensor = self.head(h)
        return logits
