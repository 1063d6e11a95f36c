"""Each score against an independent slow computation: finite differences, an explicit Hessian, a sum over paths."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from mlp_values import WIDTHS, Values, drawn, entries, loss, moved, network, points
from torch import Tensor

from baselines.grasp import Grasp
from baselines.magnitude import Magnitude
from baselines.random import Random
from baselines.snip import Snip
from baselines.synflow import SynFlow
from benchmark.api import Examples, Network
from benchmark.networks.mlp import Mlp


@pytest.fixture
def examples() -> Examples:
    """Twelve random points, three classes."""
    return points()


def test_snip_is_the_effect_of_each_gate_on_the_loss(examples: Examples) -> None:
    """|dL/dc| at c = 1 by central differences of a numpy loss."""
    values = drawn()
    scores = Snip().score(network(values), examples, torch.Generator())
    for name, index in entries(scores):
        up, down = (loss(moved(values, name, index, 1 + step), examples) for step in (1e-6, -1e-6))
        assert float(scores[name][index]) == pytest.approx(abs(up - down) / 2e-6, rel=1e-6, abs=1e-9)


def flat_gradient(values: Values, examples: Examples, temperature: float) -> Tensor:
    """Gradient over the prunable weights by torch.autograd of the module's own forward pass."""
    module = Mlp(WIDTHS).double()
    module.load_state_dict(values)
    mean = torch.nn.functional.cross_entropy(module(examples.inputs) / temperature, examples.labels)
    wanted = [p for n, p in module.named_parameters() if n.endswith("weight")]
    return torch.cat([g.flatten() for g in torch.autograd.grad(mean, wanted)])


@pytest.mark.parametrize("temperature", [1.0, 200.0])
def test_grasp_is_weight_times_explicit_hessian_times_gradient(examples: Examples, temperature: float) -> None:
    """The Hessian is built column by column by differences of the gradient, entry by entry."""
    values = drawn(seed=1)
    scores = Grasp(temperature).score(network(values), examples, torch.Generator())
    g = flat_gradient(values, examples, temperature)
    for position, (name, index) in enumerate(entries(scores)):
        weight, step = float(values[name][index]), 1e-5
        up, down = (
            flat_gradient(moved(values, name, index, 1 + s / weight), examples, temperature) for s in (step, -step)
        )
        hessian_row = (up - down) / (2 * step)
        expected = weight * float(hessian_row @ g)
        assert float(scores[name][index]) == pytest.approx(expected, rel=1e-5, abs=1e-13), (position, name)


def test_grasp_predicts_the_change_of_gradient_flow_with_its_sign(examples: Examples) -> None:
    """Shrinking weight i by a fraction e changes ||g||^2 by -2 e score_i; the highest score carries the flow."""
    values = drawn(seed=2)
    scores = Grasp(1.0).score(network(values), examples, torch.Generator())
    before, e = float(flat_gradient(values, examples, 1.0).square().sum()), 1e-6
    changes = {}
    for name, index in entries(scores):
        after = float(flat_gradient(moved(values, name, index, 1 - e), examples, 1.0).square().sum())
        changes[name, index] = after - before
        assert after - before == pytest.approx(-2 * e * float(scores[name][index]), rel=1e-3, abs=1e-11)
    best = max(entries(scores), key=lambda place: float(scores[place[0]][place[1]]))
    worst = min(entries(scores), key=lambda place: float(scores[place[0]][place[1]]))
    assert changes[best] < 0 < changes[worst]  # GraSP removes what raises the flow and keeps what carries it


def path_sums(values: Values, widths: tuple[int, ...]) -> tuple[float, dict[tuple[str, tuple[int, ...]], float]]:
    """R and every parameter's share of it, by listing all paths from an input or a bias to an output."""
    depth, total = len(widths) - 1, 0.0
    shares = dict.fromkeys(entries(values), 0.0)
    for first in range(depth + 1):  # 0: the path starts at an input; l > 0: at a bias of layer l
        for units in product(*(range(width) for width in widths[first:])):
            used = [
                (f"fc{layer}.weight", (units[layer - first], units[layer - first - 1]))
                for layer in range(first + 1, depth + 1)
            ]
            used += [(f"fc{first}.bias", (units[0],))] if first else []
            size = float(np.prod([abs(float(values[name][index])) for name, index in used]))
            total += size
            for place in used:
                shares[place] += size
    return total, shares


def test_synflow_is_the_sum_over_paths_through_each_weight() -> None:
    widths = (3, 4, 3, 2)
    values = drawn(widths, seed=3)
    _, shares = path_sums(values, widths)
    scores = SynFlow().score(network(values, widths, biases_too=True), None, torch.Generator())
    assert len(entries(scores)) == len(shares) == 12 + 12 + 6 + 9
    for (name, index), share in shares.items():
        assert float(scores[name][index]) == pytest.approx(share, rel=1e-12)
    weights_only = SynFlow().score(network(values, widths), None, torch.Generator())  # biases flow, unscored
    assert set(weights_only) == {"fc1.weight", "fc2.weight", "fc3.weight"}
    assert all(torch.equal(score, scores[name]) for name, score in weights_only.items())


def test_synflow_in_float32_networks_is_computed_in_float64() -> None:
    """Layers of 1e-30 multiply to 1e-120, which float32 does not hold."""
    values = {n: torch.full_like(v, 1e-30).float() for n, v in drawn().items()}
    module = Mlp(WIDTHS)
    weights = {n: v for n, v in values.items() if n.endswith("weight")}
    masks = {n: torch.ones(w.shape, dtype=torch.bool) for n, w in weights.items()}
    subject = Network(module, weights, {n: 0 * v for n, v in values.items() if n not in weights}, masks, (5,), 3)
    scores = SynFlow().score(subject, None, torch.Generator())
    for name, score in scores.items():
        assert score.dtype == torch.float64
        # every weight lies on (5 * 4 * 3 * 3 paths) / (weights of its layer), each worth 1e-90
        assert score == pytest.approx(torch.full_like(score, 180 / weights[name].numel() * 1e-90), rel=1e-5)


def test_synflow_keeps_the_signs_and_the_mode_of_the_network() -> None:
    values = drawn()
    subject = network(values)
    subject.module.train()
    SynFlow().score(subject, None, torch.Generator())
    assert subject.module.training
    assert all(torch.equal(subject.weights[n], values[n]) for n in subject.weights)


def test_magnitude_by_hand() -> None:
    subject = network({**drawn(), "fc3.weight": torch.tensor([[-2.0, 0.0, 1.0]] * 3, dtype=torch.float64)})
    assert Magnitude().score(subject, None, torch.Generator())["fc3.weight"][0].tolist() == [2.0, 0.0, 1.0]


def test_random_is_uniform_and_a_function_of_its_stream() -> None:
    """Largest distance of the sorted scores from the uniform law stays below the 1 in 10,000 bound 2.23 / sqrt(n)."""
    widths = (100, 200, 3)
    subject = network(drawn(widths), widths)
    first, again, other = (Random().score(subject, None, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    for name, scores in first.items():
        assert scores.shape == subject.weights[name].shape
        assert torch.equal(scores, again[name])
        assert not torch.equal(scores, other[name])
    sample = first["fc1.weight"].flatten().sort().values
    n = len(sample)
    assert n == 20_000
    assert float((sample - torch.arange(n, dtype=torch.float64) / n).abs().max()) < 2.23 / n**0.5
    rows = first["fc1.weight"].mean(1)  # 200 means of 100 uniform draws: no row or column is favoured
    assert float((rows - 0.5).abs().max()) < 5 / (12 * 100) ** 0.5


@pytest.mark.parametrize(
    ("pruner", "forward", "backward", "seen"),
    [(Magnitude(), 0, 0, 0), (Random(), 0, 0, 0), (Snip(), 1, 1, 12), (Grasp(), 1, 2, 12), (SynFlow(), 1, 1, 1)],
)
def test_costs_are_counted(
    pruner: Magnitude | Random | Snip | Grasp | SynFlow, examples: Examples, forward: int, backward: int, seen: int
) -> None:
    subject = network(drawn())
    pruner.score(subject, examples, torch.Generator())
    cost = subject.cost
    assert (cost.forward_passes, cost.backward_passes, cost.examples_seen) == (forward, backward, seen)
