"""Which weights lie on some path: by hand, and against gradients of networks whose weights are the mask itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.func import functional_call

from benchmark.networks.registry import make
from benchmark.protocols import load_all
from benchmark.protocols.graph import INPUT
from benchmark.protocols.network import MlpSpec, NetworkSpec, ResNetSpec
from benchmark.pruning.connectivity import connectivity

MLP = {"initialiser": "glorot-normal", "bias": "zeros"}
TINY = MlpSpec(name="mlp", widths=(2, 3, 2), **MLP)  # type: ignore[arg-type]


def test_by_hand() -> None:
    """Unit 0 has an input and no output, unit 1 an output and no input, unit 2 both."""
    masks = {
        "fc1.weight": np.array([[1, 0], [0, 0], [0, 1]], bool),
        "fc2.weight": np.array([[0, 1, 0], [0, 0, 1]], bool),
        "fc1.bias": np.ones(3, bool),
    }
    found = connectivity(TINY, masks)
    assert (found.effective, found.disconnected) == (3, False)  # two weights, one bias
    masks["fc2.weight"][1, 2] = False
    assert connectivity(TINY, masks) == type(found)(0, True)


def test_whole_networks_use_all_of_their_weights() -> None:
    """Every protocol's, and every tensor of every network is an edge, but scales and shifts of batch norm where a
    generator's are pruned too."""
    for protocol in {(repr(p.network), *p.pruning.prunable): p for p in load_all()}.values():
        masks = {name: np.ones(shape, bool) for name, shape in protocol.pruning.prunable.items()}
        found = connectivity(protocol.network, masks)
        kinds = {name: kind for name, (kind, _) in protocol.network.tensors.items()}
        size = sum(mask.size for name, mask in masks.items() if kinds[name] != "norm")
        assert (found.effective, found.disconnected) == (size, False), protocol.id
        weights = {name for name, kind in kinds.items() if kind not in {"bias", "norm"}}
        assert {edge.tensor for edge in protocol.network.edges} - {None} == weights
        assert protocol.network.edges[0].source == INPUT


def resnet(shortcut: str) -> NetworkSpec:
    fields = {"input": (3, 64, 64), "classes": 4, "initialiser": "glorot-normal", "linear_initialiser": "glorot-normal"}
    norm = {"scale": "ones", "momentum": 0.1, "epsilon": 1e-5}
    more = {"bias": "zeros", "width": 1, "shortcut": shortcut, "stem": {"kernel": 3, "stride": 1, "max_pool": "none"}}
    return ResNetSpec.model_validate({"name": "resnet-20", **fields, **more, "batch_norm": norm})


SPECS = {
    "mlp": MlpSpec(name="mlp", widths=(12, 9, 7, 3), **MLP),  # type: ignore[arg-type]
    "residual": MlpSpec(name="residual-mlp", widths=(12, 8, 8, 8, 3), **MLP),  # type: ignore[arg-type]
    "resnet, convolutions": resnet("convolution"),
    "resnet, zeros": resnet("zero-padding"),
}


@pytest.mark.parametrize("density", [0.3, 0.05, 0.015, 0.004])
@pytest.mark.parametrize("name", SPECS)
def test_a_weight_of_use_is_one_that_the_sum_of_outputs_depends_on(name: str, density: float) -> None:
    """With positive weights, no biases and an input of ones nothing cancels, and no pixel is on the border alone."""
    spec = SPECS[name]
    module = make(spec).double().eval()
    rng = np.random.default_rng(int(1000 * density))
    masks = {n: rng.random(shape) < density for n, (kind, shape) in spec.tensors.items() if kind != "bias"}
    state = {n: torch.ones_like(p) for n, p in module.named_parameters()} | dict(module.named_buffers())
    zero = {n for n in state if "mean" in n or n.endswith("bias")}
    state = {n: torch.zeros_like(v) if n in zero else torch.ones_like(v) for n, v in state.items()}
    leaves = {n: torch.from_numpy(mask).double().requires_grad_() for n, mask in masks.items()}
    total = functional_call(module, state | leaves, (torch.ones(1, *spec.input_shape, dtype=torch.float64),)).sum()
    gradients = torch.autograd.grad(total, list(leaves.values()))
    used = sum(int(((g != 0) & (w != 0)).sum()) for g, w in zip(gradients, leaves.values(), strict=True))
    found = connectivity(spec, masks)
    assert found.disconnected == (total.item() == 0)
    assert found.effective == used
