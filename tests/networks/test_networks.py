"""Networks by their parameter counts and formulas; initial weights by their moments and streams."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.networks import build, initial_state
from benchmark.networks.mlp import Mlp, ResidualMlp
from benchmark.protocols import Protocol, load
from benchmark.protocols.methods import PruningSpec
from benchmark.protocols.network import MlpSpec
from benchmark.utils.errors import BadInput
from benchmark.utils.seeding import derived_seed, stream

LENET = (784, 300, 100, 10)


def state_of(seed: int, initialiser: str, bias: str, widths: tuple[int, ...] = LENET) -> dict[str, Tensor]:
    """Initial values of an MLP under named rules."""
    spec = MlpSpec.model_validate({"name": "mlp", "initialiser": initialiser, "bias": bias, "widths": widths})
    return initial_state(Mlp(widths), spec, stream(seed, "init"))


def test_lenet_has_266610_parameters() -> None:
    """784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10, of which 266,200 are weights."""
    module = build(load("lth/lenet-mnist"))
    assert sum(p.numel() for p in module.parameters()) == 266_610
    assert sum(p.numel() for n, p in module.named_parameters() if n.endswith("weight")) == 266_200
    assert list(dict(module.named_parameters())) == [f"fc{i}.{kind}" for i in (1, 2, 3) for kind in ("weight", "bias")]


def test_mlp_is_relu_between_linear_layers() -> None:
    """Against numpy, with a picture-shaped input."""
    state = {n: v.numpy() for n, v in state_of(0, "pytorch-linear", "pytorch-linear", (12, 6, 5, 3)).items()}
    module = Mlp((12, 6, 5, 3))
    module.load_state_dict({n: torch.from_numpy(v) for n, v in state.items()})
    x = np.random.default_rng(0).standard_normal((7, 3, 4)).astype(np.float32)
    h = np.maximum(x.reshape(7, 12) @ state["fc1.weight"].T + state["fc1.bias"], 0)
    h = np.maximum(h @ state["fc2.weight"].T + state["fc2.bias"], 0)
    expected = h @ state["fc3.weight"].T + state["fc3.bias"]
    assert module(torch.from_numpy(x)).detach().numpy() == pytest.approx(expected, abs=1e-5)


def test_residual_mlp_adds_its_hidden_layer() -> None:
    """MNIST-1D's SparseMLP: h = relu(W1 x + b1); h = h + relu(W2 h + b2); W3 h + b3, in numpy."""
    module = ResidualMlp((4, 6, 6, 3))
    values: dict[str, Any] = {n: p.detach().numpy() for n, p in module.named_parameters()}
    x = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)
    h = np.maximum(x @ values["fc1.weight"].T + values["fc1.bias"], 0)
    h = h + np.maximum(h @ values["fc2.weight"].T + values["fc2.bias"], 0)
    expected = h @ values["fc3.weight"].T + values["fc3.bias"]
    assert module(torch.from_numpy(x)).detach().numpy() == pytest.approx(expected, abs=1e-5)


def test_glorot_normal_moments() -> None:
    """Mean 0, variance 2 / (fan in + fan out), normal kurtosis 3; bounds of five standard errors."""
    state = state_of(1, "glorot-normal", "zeros")
    for layer, (fan_in, fan_out) in enumerate(pairwise(LENET), start=1):
        w = state[f"fc{layer}.weight"].double()
        n, variance = w.numel(), 2 / (fan_in + fan_out)
        assert abs(float(w.mean())) < 5 * math.sqrt(variance / n)
        assert abs(float(w.square().mean()) / variance - 1) < 5 * math.sqrt(2 / n)
        assert abs(float((w**4).mean()) / variance**2 - 3) < 5 * math.sqrt(96 / n)
        assert not state[f"fc{layer}.bias"].any()


def test_uniform_bounds_and_moments() -> None:
    """U(-1/sqrt(fan in), 1/sqrt(fan in)) for weights and biases, variance 1 / (3 fan in)."""
    state = state_of(2, "pytorch-linear", "pytorch-linear")
    for layer, fan_in in ((1, 784), (2, 300), (3, 100)):
        bound = 1 / math.sqrt(fan_in)
        for kind in ("weight", "bias"):
            values = state[f"fc{layer}.{kind}"].double()
            n = values.numel()
            assert float(values.abs().max()) <= bound * (1 + 1e-6)
            assert float(values.abs().max()) > bound * (1 - 20 / n)
            assert abs(float(values.mean())) < 5 * bound / math.sqrt(3 * n)
            assert abs(float(values.square().mean()) * 3 / bound**2 - 1) < 5 * math.sqrt(0.8 / n)


def test_torch_linear_draws_from_the_same_law() -> None:
    """The bounds that torch.nn.Linear itself keeps to."""
    layer = torch.nn.Linear(300, 2000)
    bound = 1 / math.sqrt(300)
    for values in (layer.weight.detach(), layer.bias.detach()):
        assert bound * 0.99 < float(values.abs().max()) <= bound * (1 + 1e-6)


def test_biases_scale_with_depth_as_an_input_does() -> None:
    """Variance 2/1, then 2/1 * 2/4000, then that times 2/4000: by hand, from widths 1, 4000, 4000, 4000."""
    state = state_of(5, "kaiming-normal-fan-in", "normal-by-depth", (1, 4000, 4000, 4000))
    expected = (2.0, 2 * 2 / 4000, 2 * (2 / 4000) ** 2)
    for i, variance in enumerate(expected, start=1):
        assert float(state[f"fc{i}.bias"].double().var()) == pytest.approx(variance, rel=0.1)


@pytest.mark.parametrize("initialiser", ["glorot-normal", "pytorch-linear"])
def test_initial_weights_are_a_function_of_the_stream_alone(initialiser: str) -> None:
    torch.manual_seed(1)
    first = state_of(3, initialiser, "pytorch-linear")
    torch.manual_seed(2)
    torch.rand(5)
    again, other = state_of(3, initialiser, "pytorch-linear"), state_of(4, initialiser, "pytorch-linear")
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not any(torch.equal(first[n], other[n]) for n in first)


def test_streams_are_named() -> None:
    """sha256 of the words, so any other purpose, seed or order of words is another stream; stable for ever."""
    words = [
        (0, "init"),
        (1, "init"),
        (0, "order", 0),
        (0, "order", 1),
        (0, "split"),
        (10, "order", 1),
        (1, "order", 0),
    ]
    seeds = [derived_seed(*each) for each in words]
    assert len(set(seeds)) == len(words)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derived_seed(0, "init") == 1519069808562059438  # int.from_bytes(sha256(b'0/init').digest()[:8], 'big') // 2
    assert torch.equal(torch.rand(3, generator=stream(0, "init")), torch.rand(3, generator=stream(0, "init")))


@pytest.mark.parametrize(
    ("prunable", "says"),
    [
        ({"fc1.weight": (16, 13)}, "(16, 12)"),
        ({"fc9.weight": (1, 1)}, "no such tensor"),
    ],
)
def test_prunable_tensors_must_be_the_networks(tiny_protocol: Protocol, prunable: Any, says: str) -> None:
    fields = {**tiny_protocol.pruning.model_dump(), "prunable": prunable, "layer_rates": {}}
    wrong = tiny_protocol.model_copy(update={"pruning": PruningSpec.model_validate(fields)})
    with pytest.raises(BadInput) as caught:
        build(wrong)
    assert next(iter(prunable)) in caught.value.thing
    assert says in caught.value.cause


def test_prunable_tensors_stand_in_the_networks_order(tiny_protocol: Protocol) -> None:
    """The order decides between equal scores, and a digest with sorted keys does not see it."""
    tensors = dict(reversed(tiny_protocol.pruning.prunable.items()))
    pruning = tiny_protocol.pruning.model_copy(update={"prunable": tensors})
    with pytest.raises(BadInput, match="network's own order") as caught:
        build(tiny_protocol.model_copy(update={"pruning": pruning}))
    assert ", ".join(tiny_protocol.pruning.prunable) in caught.value.fix


def test_a_network_that_reads_fewer_features_has_facts_of_its_own() -> None:
    """Tensors and multiplications are worked out once; a copy with other widths works out its own."""
    whole = load("lth/lenet-mnist").network
    assert isinstance(whole, MlpSpec)
    assert (whole.multiply_adds, whole.tensors["fc1.weight"]) == (266_200, ("linear", (300, 784)))
    fewer = whole.reading(100)
    assert fewer.tensors["fc1.weight"] == ("linear", (300, 100))
    assert fewer.multiply_adds == 300 * 100 + 100 * 300 + 10 * 100
    assert (whole.input_shape, fewer.input_shape) == ((784,), (100,))
