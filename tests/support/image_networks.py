"""Specifications of image networks for tests: the fields of a family, with some changed."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from torch import Tensor, nn

from benchmark.networks import initial_state, make
from benchmark.protocols.network import ConvSpec, NetworkSpec, ResNetSpec, VggSpec
from benchmark.utils.seeding import stream

ADAPTER: TypeAdapter[NetworkSpec] = TypeAdapter(NetworkSpec)
COMMON = {
    "input": (3, 32, 32),
    "classes": 10,
    "initialiser": "kaiming-normal-fan-in",
    "linear_initialiser": "kaiming-normal-fan-in",
    "bias": "zeros",
}
NORM = {"scale": "ones", "momentum": 0.1, "epsilon": 1e-5}
STEM = {"kernel": 3, "stride": 1, "max_pool": "none"}
OWN: dict[str, dict[str, Any]] = {
    "lenet": {"input": (1, 28, 28), "relu_after_convolutions": False},
    "conv": {"dropout": None},
    "vgg": {"convolution_bias": True, "batch_norm": NORM, "last_pool": "average-2x2", "hidden": (), "dropout": None},
    "small": {"convolution_bias": False, "batch_norm": NORM, "widths": ((4,), (6, 6), (8,)), "last_pool": "average-2x2",
              "hidden": (), "dropout": None},
    "resnet": {"width": 1, "shortcut": "convolution", "stem": STEM, "batch_norm": NORM},
}  # fmt: skip


class ThinVgg(VggSpec):
    """A VGG with 4 channels."""

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        return ((4,), (4,), (4,), (4, 4), (4,))

    @property
    def head(self) -> tuple[int, ...]:
        return (4, 6, self.classes)


class ThinConv(ConvSpec):
    """Conv-2 with 4 channels and hidden layers of 8."""

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        return ((4, 4),)

    @property
    def head(self) -> tuple[int, ...]:
        return (4 * 4 * 4, 8, 8, self.classes)


class ThinResNet(ResNetSpec):
    """Two stages of a block each."""

    @property
    def stages(self) -> tuple[tuple[int, int], ...]:
        return ((4, 1), (8, 1))


def spec(name: str, **changes: Any) -> NetworkSpec:
    """A network of the family that `name` begins with."""
    return ADAPTER.validate_python({"name": name, **COMMON, **OWN[name.split("-", maxsplit=1)[0]], **changes})


def network(name: str, seed: int = 0, **changes: Any) -> tuple[nn.Module, dict[str, Tensor]]:
    """(module with its initial values loaded, those values)."""
    fields = spec(name, **changes)
    module = make(fields)
    state = initial_state(module, fields, stream(seed, "init"))
    module.load_state_dict(state)
    return module, state


def prunable(module: nn.Module) -> dict[str, int]:
    """Weights of convolutions and linear layers, in parameter order: name -> size."""
    layers = dict(module.named_modules())
    return {
        name: parameter.numel()
        for name, parameter in module.named_parameters()
        if name.endswith("weight") and not isinstance(layers[name.rpartition(".")[0]], nn.BatchNorm2d)
    }
