"""Tiny networks of every family with made-up examples: the library's own modules, with few channels."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from benchmark.datasets.dataset import Examples
from benchmark.networks import initial_state, make
from benchmark.protocols.network import ConvSpec, NetworkSpec, VggSpec
from benchmark.protocols.recipe import Recipe
from benchmark.pruning.interface import Masks, Network
from benchmark.pruning.sparse import Masked
from benchmark.utils.seeding import stream

CLASSES = 4
INITIAL = 1000  # added to a seed: whose draw stands for the initial values of trained weights
RECIPE = Recipe(
    optimizer="sgd", learning_rate=0.1, momentum=0.9, weight_decay=1e-4, batch_size=20, order="shuffled-each-epoch",
    last_partial_batch="keep", steps=100, precision="fp32",
)  # fmt: skip
"""By which the final network would be trained; nothing is."""
_ANY: TypeAdapter[NetworkSpec] = TypeAdapter(NetworkSpec)


class NarrowVgg(VggSpec):
    """VGG-11 with 8 channels instead of 512."""

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Channels of the convolutions between max-pools."""
        return (4,), (6,), (8, 8), (8, 8), (8, 8)

    @property
    def head(self) -> tuple[int, ...]:
        """Inputs of the linear layer, classes."""
        return 8, self.classes


class NarrowConv(ConvSpec):
    """Conv-2 with 4 channels instead of 64."""

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Channels of the convolutions between max-pools."""
        return ((4, 4),)


_IMAGE = {
    "classes": CLASSES,
    "initialiser": "kaiming-normal-fan-in",
    "linear_initialiser": "kaiming-normal-fan-in",
    "bias": "zeros",
}
_NORM = {"scale": "ones", "momentum": 0.1, "epsilon": 1e-5}
_STEM = {"kernel": 3, "stride": 1, "max_pool": "none"}


@dataclass(frozen=True)
class Case:
    """One network. `prunable`: names in tie order; `training`: its mode while scored (batch norm)."""

    name: str
    spec: NetworkSpec
    input_shape: tuple[int, ...]
    biases_too: bool = False
    training: bool = False

    @property
    def prunable(self) -> tuple[str, ...]:
        """Weights of convolutions and linear layers, and their biases where the case says so."""
        return _prunable(self)

    def network(self, seed: int = 0, masks: Masks | None = None, dtype: torch.dtype = torch.float32) -> Network:
        """A fresh network with the initial weights of a seed, as the harness shows it: masked, read-only mappings."""
        module = deepcopy(_module(self, seed)).to(dtype).train(self.training)
        values = {name: value.clone() for name, value in module.state_dict().items()}
        kept = masks or self.full_masks()
        initial = _module(self, seed + INITIAL).state_dict()  # as if training had come to `values`
        return Network(
            module,
            Masked(self.prunable, values, kept),
            MappingProxyType({name: value for name, value in values.items() if name not in self.prunable}),
            MappingProxyType({name: mask.clone() for name, mask in kept.items()}),
            self.input_shape,
            CLASSES,
            initial=MappingProxyType({name: initial[name].to(dtype, copy=True) for name in self.prunable}),
            recipe=RECIPE,
        )

    def full_masks(self) -> Masks:
        """Masks that keep every weight."""
        parameters = dict(_module(self, 0).named_parameters())
        return {name: torch.ones(parameters[name].shape, dtype=torch.bool) for name in self.prunable}

    def examples(self, dtype: torch.dtype = torch.float32, seed: int = 0) -> Examples:
        """Five points of each class around a centre of their own."""
        rng = stream(seed, "conformance examples", self.name)
        labels = torch.arange(5 * CLASSES) % CLASSES
        centres = torch.randn(CLASSES, *self.input_shape, generator=rng)
        noise = torch.randn(len(labels), *self.input_shape, generator=rng)
        return Examples((centres[labels] + 0.5 * noise).to(dtype), labels)


@cache
def _module(case: Case, seed: int) -> nn.Module:
    """The network as first built; every call gets a copy, because building draws from torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        module = make(case.spec)
    module.load_state_dict(initial_state(module, case.spec, stream(seed, "conformance", case.name)))
    return module


@cache
def _prunable(case: Case) -> tuple[str, ...]:
    module = _module(case, 0)
    layers = dict(module.named_modules())
    wanted = ("weight", "bias") if case.biases_too else ("weight",)
    return tuple(
        name
        for name, _ in module.named_parameters()
        if name.rpartition(".")[2] in wanted and not isinstance(layers[name.rpartition(".")[0]], nn.BatchNorm2d)
    )


def _spec(**fields: Any) -> NetworkSpec:
    return _ANY.validate_python(fields)


@cache
def cases() -> tuple[Case, ...]:
    """An MLP, a residual one with prunable biases, LeNet-5, Conv-2, VGG-11 and ResNet-20, the last four on images.

    VGG is scored in train mode and ResNet in eval mode: protocols ask for either.
    """
    mlp = {"initialiser": "glorot-normal", "bias": "zeros"}
    linear = {"initialiser": "pytorch-linear", "bias": "pytorch-linear"}
    vgg = NarrowVgg.model_validate(
        {"name": "vgg-11", "input": (3, 32, 32), **_IMAGE, "convolution_bias": True, "batch_norm": _NORM,
         "last_pool": "average-2x2", "hidden": (), "dropout": None}
    )  # fmt: skip
    conv = NarrowConv.model_validate({"name": "conv-2", "input": (3, 8, 8), **_IMAGE, "dropout": None})
    lenet = _spec(name="lenet-5-caffe", input=(1, 16, 16), **_IMAGE, relu_after_convolutions=False)
    resnet = _spec(
        name="resnet-20", input=(3, 8, 8), **_IMAGE, width=1, shortcut="zero-padding", stem=_STEM, batch_norm=_NORM
    )
    return (
        Case("mlp", _spec(name="mlp", widths=(12, 16, 8, CLASSES), **mlp), (12,)),
        Case("residual-mlp", _spec(name="residual-mlp", widths=(10, 14, 14, CLASSES), **linear), (10,), True),
        Case("lenet-5", lenet, (1, 16, 16)),
        Case("conv-2", conv, (3, 8, 8)),
        Case("vgg-11", vgg, (3, 32, 32), training=True),
        Case("resnet-20", resnet, (3, 8, 8)),
    )


def one_per_layer(weights: Mapping[str, Tensor]) -> Masks:
    """Masks that keep the largest weight of every tensor."""
    masks = {}
    for name, weight in weights.items():
        mask = torch.zeros(weight.numel(), dtype=torch.bool)
        mask[int(weight.abs().flatten().argmax())] = True
        masks[name] = mask.reshape(weight.shape)
    return masks
