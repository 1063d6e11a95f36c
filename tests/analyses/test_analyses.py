"""Analyses: found by name without torch, and linear mode connectivity where its value is known."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmark.analyses import ANALYSES, load_analysis
from benchmark.analyses.mode_connectivity import ModeConnectivity
from benchmark.datasets.dataset import Dataset
from benchmark.protocols import Protocol, load
from benchmark.protocols.cells import DENSE, Cell, is_chain
from benchmark.utils.errors import BadInput


def line_data() -> Dataset:
    """Eight points left and right of 0, labels 0 and 1."""
    inputs = torch.tensor([-4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0])[:, None]
    labels = (inputs[:, 0] > 0).long()
    return Dataset("line", inputs, labels, inputs, labels, 2, "0" * 64)


def classifier(weight: float) -> nn.Module:
    """Right everywhere for a positive weight; for 0 class 0 is said of all, for a negative one everything is wrong."""
    module = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[-weight], [weight]]))
    return module


def test_names_need_no_torch() -> None:
    text = (
        "import sys; from benchmark.analyses import ANALYSES as a; print(*a.names()); assert 'torch' not in sys.modules"
    )
    names = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout.split()
    assert names == list(ANALYSES.names()) == ["mode-connectivity"]
    with pytest.raises(BadInput, match="Did you mean 'mode-connectivity'"):
        load_analysis("mode_connectivity")


@pytest.mark.parametrize(
    ("first", "last", "accuracy"),
    [
        (1.0, 3.0, 0.0),  # right along the whole line
        (1.0, 1.0, 0.0),
        (1.0, -1.0, 50.0),  # the worst point is the wrong end, 50 below the mean of both
    ],
)
def test_barrier_of_known_height(first: float, last: float, accuracy: float) -> None:
    heights = ModeConnectivity().barrier(classifier(first), classifier(last), line_data())
    assert heights["accuracy"] == pytest.approx(accuracy)
    assert heights["loss"] >= -1e-6


def test_a_barrier_between_two_equally_good_networks() -> None:
    """Two hidden units that are swapped compute the same; half way both are the mean, and class 1 is lost."""

    def swapped(order: list[int]) -> nn.Module:
        module = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
        with torch.no_grad():
            module[0].weight.copy_(torch.tensor([[1.0], [-1.0]])[order])
            module[2].weight.copy_(torch.tensor([[-1.0, 1.0], [1.0, -1.0]])[:, order])
        return module

    one, other = swapped([0, 1]), swapped([1, 0])
    before = {name: value.clone() for name, value in one.state_dict().items()}
    heights = ModeConnectivity(steps=4).barrier(one, other, line_data())
    assert heights["accuracy"] == pytest.approx(50.0)  # all logits are 0: class 0 for every point
    assert heights["loss"] > 0.4  # log 2 in the middle, 0.05 at the ends
    assert all(torch.equal(before[name], value) for name, value in one.state_dict().items())


def test_levels_are_compared_with_the_one_before() -> None:
    networks = {
        Cell(DENSE, 0, 3): classifier(1.0),
        Cell("imp", 1, 3): classifier(2.0),
        Cell("imp", 3, 3): classifier(1),
    }
    measured = ModeConnectivity().measure(networks, line_data())
    assert set(measured) == {f"{kind}/imp/level-01/seed-3" for kind in ModeConnectivity.units}
    assert {name.partition("/")[0] for name in measured} == set(ModeConnectivity.units)


def test_a_prepared_input_is_what_networks_read() -> None:
    """The data set's own preparation is applied, as in training."""
    turned = replace(line_data(), prepare=lambda inputs: -inputs)
    barrier = ModeConnectivity().barrier(classifier(-1.0), classifier(-1.0), turned)
    assert barrier == {"loss": pytest.approx(0), "accuracy": pytest.approx(0)}
    assert ModeConnectivity()._test_metrics(classifier(-1.0), turned)["accuracy"] == 100


def test_it_needs_chains_without_batch_norm(tiny_protocol: Protocol) -> None:
    needed = ModeConnectivity().needs(tiny_protocol)
    chains = [name for name in tiny_protocol.methods if is_chain(tiny_protocol, name)]
    assert chains
    per_seed = 1 + len(chains) * (len(tiny_protocol.level_table) - 1)
    assert len(needed) == len(set(needed)) == per_seed * len(tiny_protocol.seeds)
    assert ModeConnectivity().needs(load("lth/resnet18-low-cifar10")) == ()
