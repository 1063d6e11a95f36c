"""ESCALATE's parts against hand calculation, a slow loop, and what linear algebra says of them."""

from __future__ import annotations

import re
from math import ceil, log2

import pytest
import torch
from compressible import Small, network
from torch import nn
from torch.nn.functional import conv2d

from baselines.escalate import Escalate, decomposed, quantised, recomposed, ternary, two_stage
from benchmark.compression.interface import budget_for, compressed
from benchmark.pruning.interface import Network
from benchmark.utils.errors import BadInput

KERNELS = torch.randn(5, 4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("stride", "padding"), [((1, 1), (1, 1)), ((2, 1), (0, 2))])
def test_two_stages_are_the_convolution(stride: tuple[int, int], padding: tuple[int, int]) -> None:
    """At M = 9 nothing is lost, and linear maps commute: both forms agree to the last digits of their type."""
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-5)):
        x = torch.randn(2, 4, 7, 8, generator=torch.Generator().manual_seed(1), dtype=dtype)
        kernels = KERNELS.to(dtype)
        basis, coefficients = decomposed(kernels, 9)
        assert torch.allclose(recomposed(basis, coefficients), kernels, atol=tolerance)
        staged = two_stage(x, basis, coefficients, stride, padding)
        assert torch.allclose(staged, conv2d(x, kernels, None, stride, padding), atol=10 * tolerance)


def test_the_error_is_the_tail_of_the_singular_values() -> None:
    """Squared, at every M; so it falls with M. The mean is not taken off: a constant kernel has one basis kernel."""
    rows = KERNELS.reshape(20, 9)
    eigenvalues = torch.linalg.eigvalsh(rows.T @ rows).flip(0)  # squared singular values, by another route
    errors = []
    for count in range(1, 10):
        basis, coefficients = decomposed(KERNELS, count)
        assert torch.allclose(basis.flatten(1) @ basis.flatten(1).T, torch.eye(count, dtype=torch.float64))
        errors.append(float((KERNELS - recomposed(basis, coefficients)).square().sum()))
        assert errors[-1] == pytest.approx(float(eigenvalues[count:].sum()), abs=1e-10)
    assert errors == sorted(errors, reverse=True)
    constant = torch.full((2, 3, 3, 3), 0.5)
    assert torch.allclose(recomposed(*decomposed(constant, 1)), constant, atol=1e-6)
    few = KERNELS[:2, :2]  # a matrix of four rows has no more than four basis kernels
    assert len(decomposed(few, 9)[0]) == 4


def test_steps_around_zero() -> None:
    assert quantised(torch.tensor([-3.0, 0.4, 0.6, 3.0]), 3).tolist() == [-3.0, 0.0, 1.0, 3.0]  # steps of 1
    assert quantised(torch.zeros(3), 8).tolist() == [0.0, 0.0, 0.0]
    x = torch.rand(1000) - 0.5
    assert float((quantised(x, 8) - x).abs().max()) <= float(x.abs().max()) / 254 * 1.0001


def test_ternary_values_and_their_gradient_by_hand() -> None:
    latent = torch.tensor([[1.0, -3.0, 0.1], [0.2, 0.3, -2.0]], requires_grad=True)
    values = ternary(latent, 3, 16)
    # The three largest are -3, -2 and 1: means of magnitude 2 in channel 0 and 2 in channel 1.
    assert torch.allclose(values, torch.tensor([[2.0, -2.0, 0.0], [0.0, 0.0, -2.0]]))
    weights = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    (values * weights).sum().backward()
    assert latent.grad is not None
    assert torch.equal(latent.grad, weights)  # zeros are trained too, and may come back


def test_bits_by_hand() -> None:
    """conv1: 5 x 2 x 4 coefficients, conv2: 3 x 5 x 4, head: 48; basis 4 x 9 numbers of 8 bits and a step each."""
    whole = network()
    found = compressed("escalate", Escalate(basis=4, positions="bitmap"), whole, budget_for(whole, 3))
    layers = found.layers()
    sizes = {"conv1": 40, "conv2": 60, "head": 48}
    kept = {name: layer.bits["values"] for name, layer in layers.items()}  # a sign each
    assert {name: layer.bits["positions"] for name, layer in layers.items()} == sizes
    assert [layer.bits.get("basis") for layer in layers.values()] == [4 * 9 * 8 + 32, 4 * 9 * 8 + 32, None]
    assert [layer.bits["scales"] for layer in layers.values()] == [5 * 8 + 32, 3 * 8 + 32, 4 * 8 + 32]
    assert found.bits() == 148 + sum(kept.values()) + 2 * 320 + 12 * 8 + 96 <= budget_for(whole, 3)
    for name, layer in found.module.named_children():
        assert int((layer.coefficients() != 0).sum()) == kept[name]
    entropy = Escalate(basis=4).compress(whole, budget_for(whole, 4)).layers()["head"]
    p = entropy.bits["values"] / 48
    assert entropy.bits["positions"] == ceil(48 * (-p * log2(p) - (1 - p) * log2(1 - p)))


@pytest.mark.parametrize("times", [4, 12])
def test_multiply_adds_by_a_slow_loop(times: int) -> None:
    """Every multiplication of both stages counted one by one, at every pixel; 12 times, some maps have no reader."""
    whole = network()
    found = compressed("escalate", Escalate(basis=3), whole, budget_for(whole, times))
    counted = unread = 0
    for name, pixels in (("conv1", 6 * 6), ("conv2", 2 * 2)):
        coefficients = found.module.get_submodule(name).coefficients().tolist()
        for _ in range(pixels):
            for channel in range(len(coefficients[0])):
                for kernel in range(3):
                    readers = sum(output[channel][kernel] != 0 for output in coefficients)
                    counted += readers + (9 if readers else 0)
                    unread += not readers
            counted += len(coefficients)  # scales
    head = found.module.get_submodule("head").coefficients().tolist()
    counted += sum(value != 0 for row in head for value in row) + len(head)
    assert found.multiply_adds() == counted
    assert (unread > 0) == (times == 12)
    if times == 4:
        assert compressed("escalate", Escalate(basis=3), whole, budget_for(whole, 12)).multiply_adds() < counted


def test_training_and_evaluation_compute_the_same_and_the_budget_holds_while_it_trains() -> None:
    whole = network()
    before = {name: weight.clone() for name, weight in whole.weights.items()}
    found = Escalate(basis=4).compress(whole, budget_for(whole, 5))
    bits, module = found.bits(), found.module
    x, labels = torch.randn(16, 2, 6, 6), torch.randint(0, 4, (16,))
    losses = []
    for _ in range(30):
        assert torch.allclose(module.train()(x), module.eval()(x), atol=1e-5)
        loss = nn.functional.cross_entropy(module.train()(x), labels)
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, [*module.parameters()])  # none is missing
        with torch.no_grad():
            for parameter, gradient in zip(module.parameters(), gradients, strict=True):
                parameter.sub_(0.1 * gradient)
    assert losses[-1] < losses[0]
    assert found.bits() == bits <= budget_for(whole, 5)
    assert all(torch.equal(weight, before[name]) for name, weight in whole.weights.items())


@pytest.mark.parametrize("threshold", ["deviations", "magnitude"])
def test_one_threshold_for_all_layers(threshold: str) -> None:
    """Whatever is kept is above whatever is not, in the measure named; each layer keeps one at least."""
    whole = network()
    found = Escalate(basis=4, threshold=threshold).compress(whole, 920)
    kept, left = [], []
    for layer in found.module.children():
        measure = layer.latent.detach().abs() / (layer.latent.detach().std() if threshold == "deviations" else 1)
        mask = layer.support()
        if int(mask.sum()) > 1:
            kept.append(float(measure[mask].min()))
        left.append(float(measure[~mask].max()))
    assert kept
    assert min(kept) >= max(left)
    assert found.bits() > 920 - 8


def _needed(compressor: Escalate, whole: Network) -> int:
    """What the error names as the least of bits."""
    with pytest.raises(BadInput) as caught:
        compressor.compress(whole, 1)
    return int(re.findall(r"needs (\d+) for", str(caught.value))[0])


def test_what_cannot_be_done_is_said() -> None:
    whole = network()
    least = _needed(Escalate(), whole)
    assert Escalate().compress(whole, least).bits() == least  # what the error says can be had, can be
    with pytest.raises(BadInput, match=r"budget of 20 bits: escalate needs \d{3,} for one coefficient in every layer"):
        Escalate().compress(whole, 20)
    with pytest.raises(BadInput, match=r"no 5x5 kernels to decompose: its kernels have sides \[3\]. Set `kernel`"):
        Escalate(kernel=5).compress(whole, 4000)
    flat = network(nn.Sequential(nn.Flatten(), nn.Linear(72, 4)))
    with pytest.raises(BadInput, match="it has no convolution"):
        Escalate().compress(flat, 4000)
    with pytest.raises(ValueError, match="basis 10"):
        Escalate(basis=10)
    assert isinstance(whole.module, Small)
