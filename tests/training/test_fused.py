"""Batch norm, shortcut and ReLU as one operation: against PyTorch's own, and Triton's kernels in its interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from acting_hooks import Acting
from captured_trials import NETWORKS, trial
from fused_values import EPSILON, MOMENTUM, apart, calculated, values
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from benchmark.networks import make
from benchmark.perf.loops import Contender
from benchmark.perf.measuring import _ratios, contenders
from benchmark.perf.rates import Rate
from benchmark.protocols import Protocol
from benchmark.training.fused import decisions, formulas, layers
from benchmark.training.fused.layers import FusedBatchNorm, NormRelu, fuse
from benchmark.training.stacked_layers import stackable
from benchmark.utils.errors import BadInput


def unfused(given: tuple[Tensor, ...], shortcut: bool) -> dict[str, Tensor]:
    """The same by PyTorch's layers and its autograd."""
    x, r, g, weight, bias = (tensor.clone().requires_grad_() for tensor in given[:5])
    mean, var = given[5].clone(), given[6].clone()
    h = batch_norm(x, mean, var, weight, bias, True, MOMENTUM, EPSILON)
    y = torch.relu(h + r if shortcut else h)
    y.backward(g)  # type: ignore[no-untyped-call]
    found = {"y": y, "mean": mean, "var": var, "dx": x.grad, "dw": weight.grad, "db": bias.grad}
    found |= {"dr": r.grad} if shortcut else {}
    return {name: tensor.detach() for name, tensor in found.items() if tensor is not None}


@pytest.mark.parametrize("shortcut", [False, True])
def test_the_formulas_are_those_of_the_layers(shortcut: bool) -> None:
    """Stated tolerance in fp32: 1e-5 of a tensor's largest value."""
    given = values((6, 5, 4, 7), torch.float32, torch.contiguous_format)
    assert apart(calculated(formulas, given, shortcut), unfused(given, shortcut)) < 1e-5


@pytest.mark.long
def test_the_kernels_are_those_formulas() -> None:
    """Triton's interpreter, Python and numpy in place of a GPU: it is chosen as Triton is imported, so in a process."""
    pytest.importorskip("triton")
    file = Path(__file__).with_name("test_fused_kernels.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    done = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout


# In networks.


class Idle(Acting):
    """Changes nothing."""

    told = (4, 3)


@pytest.mark.parametrize("name", ["vgg-11", "resnet", "resnet-b"])
def test_a_fused_network_is_the_same_function(name: str) -> None:
    """Outputs, gradients and running statistics in training; to the bit the layers' own in evaluation."""
    usual, fused = make(NETWORKS[name]), make(NETWORKS[name])
    fused.load_state_dict(usual.state_dict())
    fused = fuse(fused)
    assert [type(layer) for layer in fused.modules()].count(FusedBatchNorm) == [
        type(layer) for layer in usual.modules()
    ].count(nn.BatchNorm2d)
    x = torch.randn(6, *NETWORKS[name].input_shape, generator=torch.Generator().manual_seed(1))
    outputs = [network(x) for network in (usual, fused)]
    assert torch.allclose(*outputs, rtol=1e-4, atol=1e-5)
    for found in outputs:
        found.square().sum().backward()
    for one, other in zip(usual.parameters(), fused.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert float((one.grad - other.grad).norm() / (one.grad.norm() + 1e-2)) < 1e-3
    for key, value in usual.state_dict().items():
        assert torch.allclose(fused.state_dict()[key], value, rtol=1e-5, atol=1e-6), key
    fused.load_state_dict(usual.state_dict())
    assert torch.equal(usual.eval()(x), fused.eval()(x))


@pytest.mark.parametrize("strategy", ["stacked", "streams"])
def test_a_fused_training_is_the_other_to_rounding(tiny_protocol: Protocol, strategy: Any) -> None:
    """And says so; with hooks, which may put another network in place, it is not fused and does not say so."""
    asked = trial(tiny_protocol, "resnet", strategy, learning_rate=0.001)
    for one, two in zip(asked.trained(), replace(asked, fused=True).trained(), strict=True):
        assert all(torch.allclose(two.weights[n], t, rtol=1e-3, atol=1e-3) for n, t in one.weights.items())
        assert any(not torch.equal(two.weights[n], t) for n, t in one.weights.items()), "nothing was fused"
        assert two.replica_group == f"2 side by side, {strategy}; batch norm and ReLU fused"
        assert one.replica_group == f"2 side by side, {strategy}"
    hooked = replace(asked, fused=True, hooks=lambda _: [Idle(5)])
    assert {outcome.replica_group for outcome in hooked.trained()} == {f"2 side by side, {strategy}"}


def test_the_gradient_is_that_of_finite_differences() -> None:
    """In float64, by autograd's own check, with a shortcut."""
    monkey: Callable[[Tensor], Tensor] = lambda t: t.double()  # noqa: E731
    x, r, _, weight, bias, *running = map(monkey, values((3, 2, 2, 3), torch.float32, torch.contiguous_format))
    wanted = [tensor.requires_grad_() for tensor in (x, r, weight, bias)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "float", Tensor.double)
        assert torch.autograd.gradcheck(
            lambda *leaves: NormRelu.apply(*leaves, *(m.clone() for m in running), MOMENTUM, EPSILON), wanted
        )


# Where it is on.


def test_no_device_has_it_before_it_is_measured(tmp_path: Path) -> None:
    assert not decisions.fused_on("NVIDIA H200", "stacked", "fp32")
    path, entry = (
        tmp_path / "decisions.yaml",
        "device: NVIDIA H200, strategy: stacked, precision: fp32, measured: a line",
    )
    path.write_text(f"measured:\n- {{{entry}, gain: 1.2}}\n- {{{entry.replace('fp32', 'bf16')}, gain: 1.04}}\n")
    found = [decisions.fused_on("NVIDIA H200", "stacked", p, path) for p in ("fp32", "bf16", "tf32")]
    assert found == [True, False, False]
    (tmp_path / "other.yaml").write_text("measured:\n- {device: NVIDIA H200, gain: 1.2}\n")
    with pytest.raises(BadInput, match="an entry has the fields"):
        decisions.fused_on("NVIDIA H200", "stacked", "fp32", tmp_path / "other.yaml")


def test_speed_times_both_on_a_gpu() -> None:
    """For networks with batch norms; the gain is that of the best of each."""
    engine = [c for c in contenders("cuda", [4], True) if c.loop == "engine"]
    assert [(c.strategy, c.fused) for c in engine] == [
        ("stacked", False), ("stacked", True), ("streams", False), ("streams", True),
    ]  # fmt: skip
    assert engine[1].label == "engine (cuda, stacked, fused)"
    assert not any(c.fused for c in [*contenders("cuda", [4]), *contenders("cpu", [4], True)])
    rates = [Rate(c, rate, rate, rate, 1.0) for c, rate in zip(engine, (10.0, 13.0, 20.0, 15.0), strict=True)]
    found = _ratios([*rates, Rate(Contender("in-memory", "cuda"), 5.0, 5.0, 5.0, 1.0)])
    assert found["fused / unfused, stacked"] == pytest.approx(1.3)
    assert found["fused / unfused, streams"] == pytest.approx(0.75)


def test_layers_that_are_replaced_are_the_very_types() -> None:
    network = stackable(make(NETWORKS["resnet"]))
    kinds = {type(layer) for layer in fuse(network).modules()}
    assert layers.FusedStackedBatchNorm in kinds
    assert not kinds & set(layers.FUSED)
