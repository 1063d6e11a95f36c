"""What SNIP's code scores: another draw than is trained, with biases of their own."""

from __future__ import annotations

import math

import torch

from benchmark.harness.start import SCORED, initial_weights
from benchmark.protocols import load


def test_snip_scores_biases_that_are_not_zero_and_trains_zeros() -> None:
    protocol = load("snip/lenet-300-100-mnist")
    trained, scored = initial_weights(protocol, 10), initial_weights(protocol, 10, SCORED)
    assert all(not trained[f"fc{i}.bias"].any() for i in (1, 2, 3))
    for name, count in (("fc1.bias", 300), ("fc2.bias", 100)):
        spread = scored[name].std().item() * math.sqrt(count)
        assert abs(spread - 1) < 4 / math.sqrt(2 * count)
    assert not torch.equal(trained["fc1.weight"], scored["fc1.weight"])
    again = initial_weights(protocol, 10, SCORED)
    assert all(torch.equal(scored[name], again[name]) for name in scored)


def test_weights_have_variance_one_over_the_fan_in() -> None:
    for name in ("snip/lenet-300-100-mnist", "snip/lenet-5-caffe-mnist"):
        protocol = load(name)
        for tensor, weight in initial_weights(protocol, 3).items():
            if tensor.endswith("weight"):
                fan_in = weight[0].numel()
                assert abs(weight.std().item() * math.sqrt(fan_in) - 1) < 5 / math.sqrt(2 * weight.numel()), tensor
