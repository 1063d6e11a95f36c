"""The released GraSP against explicit Hessians of two halves, by differences of gradients."""

from __future__ import annotations

import math

import pytest
import torch
from mlp_values import WIDTHS, Values, drawn, entries, moved, network, points
from torch import Tensor

from baselines.grasp_released import GraspReleased
from benchmark.api import Examples
from benchmark.networks.mlp import Mlp


def gradient(values: Values, inputs: Tensor, labels: Tensor) -> Tensor:
    """Of the mean loss over the weights, by torch.autograd of the module's own forward pass."""
    module = Mlp(WIDTHS).double()
    module.load_state_dict(values)
    mean = torch.nn.functional.cross_entropy(module(inputs) / 200.0, labels)
    wanted = [p for n, p in module.named_parameters() if n.endswith("weight")]
    return torch.cat([g.flatten() for g in torch.autograd.grad(mean, wanted)])


def test_scores_are_those_of_redrawn_weights_and_of_halves_apart_in_class() -> None:
    examples, values = points(), drawn(seed=3)
    order = sorted(range(len(examples.labels)), key=lambda i: (int(examples.labels[i]), i))
    halves = [order[: len(order) // 2], order[len(order) // 2 :]]
    draws = torch.Generator().manual_seed(5)
    redrawn = {
        n: (torch.randn(v.shape, generator=draws) * math.sqrt(2 / sum(v.shape))).double() if n.endswith("weight") else v
        for n, v in values.items()
    }
    scores = GraspReleased().score(network(values), examples, torch.Generator().manual_seed(5))
    g = sum(gradient(redrawn, examples.inputs[half], examples.labels[half]) for half in halves)
    for name, index in entries(scores):
        weight, step = float(redrawn[name][index]), 1e-5
        up, down = (
            sum(
                gradient(moved(redrawn, name, index, 1 + s / weight), examples.inputs[half], examples.labels[half])
                for half in halves
            )
            for s in (step, -step)
        )
        expected = weight * float((up - down) / (2 * step) @ g)  # type: ignore[operator, arg-type]
        assert float(scores[name][index]) == pytest.approx(expected, rel=1e-4, abs=1e-13), name


def test_the_halves_do_not_depend_on_the_order_of_the_examples() -> None:
    """Class after class, as released: with one example a class any order gives the same halves."""
    examples, values = points(), drawn(seed=3)
    first = [int((examples.labels == label).nonzero()[0]) for label in examples.labels.unique()]
    some = Examples(examples.inputs[first], examples.labels[first])
    turned = Examples(some.inputs.flip(0), some.labels.flip(0))
    one, other = (
        GraspReleased().score(network(values), given, torch.Generator().manual_seed(1)) for given in (some, turned)
    )
    assert all(torch.allclose(one[name], other[name], rtol=1e-9) for name in one)
