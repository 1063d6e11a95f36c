"""ProsPr's meta-gradients against trainings with each gate moved a little."""

from __future__ import annotations

import pytest
import torch
from mlp_values import WIDTHS, Values, drawn, entries, network, points
from torch.nn.functional import cross_entropy

from baselines.prospr import ProsPr
from baselines.snip import Snip
from benchmark.api import Examples
from benchmark.networks.mlp import Mlp


def loss_after_training(values: Values, gates: Values, steps: int, rate: float, momentum: float) -> float:
    """A plain training with torch.optim.SGD of a network whose weights begin as gates times values."""
    examples: Examples = points()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    batches = torch.tensor_split(order, steps + 1)
    module = Mlp(WIDTHS).double()
    module.load_state_dict({n: v * gates[n] if n in gates else v for n, v in values.items()})
    optimizer = torch.optim.SGD(module.parameters(), lr=rate, momentum=momentum)
    for batch in batches[:-1]:
        optimizer.zero_grad()
        cross_entropy(module(examples.inputs[batch]), examples.labels[batch]).backward()
        optimizer.step()
    with torch.no_grad():
        return float(cross_entropy(module(examples.inputs[batches[-1]]), examples.labels[batches[-1]]))


@pytest.mark.parametrize(("steps", "rate", "momentum"), [(3, 0.1, 0.0), (3, 0.1, 0.9), (1, 0.5, 0.0)])
def test_meta_gradients_by_differences(steps: int, rate: float, momentum: float) -> None:
    values = drawn(seed=6)
    pruner = ProsPr(steps, rate, momentum)
    scores = pruner.score(network(values), points(), torch.Generator().manual_seed(3))
    for name, index in entries(scores):
        around = []
        for step in (1e-6, -1e-6):
            gates = {n: torch.ones_like(values[n]) for n in scores}
            gates[name][index] += step
            around.append(loss_after_training(values, gates, steps, rate, momentum))
        assert float(scores[name][index]) == pytest.approx(abs(around[0] - around[1]) / 2e-6, rel=1e-5, abs=1e-8)


def test_without_steps_it_is_snip() -> None:
    values = drawn(seed=6)
    prospr = ProsPr(0).score(network(values), points(), torch.Generator())
    snip = Snip().score(network(values), points(), torch.Generator())
    assert all(torch.allclose(prospr[name], snip[name], rtol=1e-12) for name in snip)


def test_looking_ahead_changes_the_ranking_and_leaves_the_network_alone() -> None:
    values = drawn(seed=6)
    subject = network(values)
    scores = ProsPr(3, 0.5).score(subject, points(), torch.Generator().manual_seed(3))
    now = Snip().score(network(values), points(), torch.Generator())
    ahead, here = (torch.cat([s.flatten() for s in scored.values()]).argsort() for scored in (scores, now))
    assert not torch.equal(ahead, here)
    assert all(torch.equal(subject.weights[n], values[n]) for n in subject.weights)


def test_each_example_is_seen_once() -> None:
    subject = network(drawn())
    ProsPr(3).score(subject, points(), torch.Generator())
    cost = subject.cost
    assert (cost.forward_passes, cost.backward_passes, cost.examples_seen) == (4, 4, 12)
    with pytest.raises(ValueError, match="12 examples for 12 steps"):
        ProsPr(12).score(subject, points(), torch.Generator())
