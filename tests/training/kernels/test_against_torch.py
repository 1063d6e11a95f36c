"""The kernels compute what torch computes: gradients and 100 updates beside torch in float64, and metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from float64_training import batches_of, in_float64, member_of
from mlp_training import RECIPES, data, network, recipe, replica, setup
from pairs import pairs
from torch.nn.functional import cross_entropy

from benchmark.networks import make
from benchmark.protocols.network import MlpSpec
from benchmark.training.loop import train
from benchmark.training.replicas import masked_start
from benchmark.utils.seeding import portable_normals, stream

SPECS = [network(33, 17, 9, 5), network(33, 17, 17, 17, 5, shortcuts=True), network(5, 3)]
DENSITIES = [1.0, 0.6, 0.1]


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_gradients_are_torchs(spec: MlpSpec, density: float) -> None:
    """Plain SGD of rate 1 moves weights by their gradient."""
    fields = {**RECIPES["sgd"], "learning_rate": 1.0}
    one = replica(spec, density)
    member = member_of(one, spec, **fields)
    expected = in_float64(spec, one, fields, batches_of(member, 1))
    before = member.state()
    member.updates(0, 1)
    start = masked_start(one)
    for name, tensor in member.state().items():
        gradient, exact = before[name].double() - tensor, start[name].double() - expected[name]
        assert (gradient - exact).abs().max() < 3e-7, name  # half an ulp of a weight below 1, and of a sum
        assert exact.abs().max() > 1e-3 or density < 0.5


@pytest.mark.parametrize(("spec", "density", "kind"), pairs(SPECS, DENSITIES, RECIPES), ids=str)
def test_a_hundred_updates_are_torchs(spec: MlpSpec, density: float, kind: str) -> None:
    fields, one = RECIPES[kind], replica(spec, density, last=100)
    member = member_of(one, spec, steps=100, **fields)
    batches = batches_of(member, 100)
    member.updates(0, 100)
    expected = in_float64(spec, one, fields, batches)
    for name, tensor in member.state().items():
        assert (tensor - expected[name]).abs().max() < 2e-4 * max(1.0, float(expected[name].abs().max())), name
        assert not tensor[~one.masks[name]].any()


@pytest.mark.parametrize("density", DENSITIES)
def test_metrics_are_the_tasks(density: float) -> None:
    spec = network(33, 17, 9, 5)
    outcome = train([replica(spec, density)], setup(spec))[0]
    module = make(spec).double()
    module.load_state_dict(outcome.weights)
    examples = data(spec)
    logits = module(examples.test_inputs.double())
    assert outcome.history.test[-1].loss == pytest.approx(
        float(cross_entropy(logits.detach(), examples.test_labels)), rel=1e-6
    )
    right = 100 * (logits.argmax(1) == examples.test_labels).double().mean()
    assert outcome.history.test[-1]["accuracy"] == pytest.approx(float(right))
    assert outcome.train is not None
    assert outcome.train.loss < 1.7


def test_whole_trainings_agree_with_the_torch_engine() -> None:
    """The same loop, data and order; only the arithmetic differs."""
    spec = network(33, 17, 17, 5, shortcuts=True)
    ours, torchs = (
        train([replica(spec, 0.4)], setup(spec, recipe(arithmetic=arithmetic)))[0]
        for arithmetic in ("portable", "torch")
    )
    assert ours.history.steps == torchs.history.steps
    for mine, other in zip(ours.history.validation, torchs.history.validation, strict=True):
        assert mine.loss == pytest.approx(other.loss, rel=1e-4)
    assert (ours.steps, ours.examples) == (torchs.steps, torchs.examples)
    for name, tensor in ours.weights.items():
        assert (tensor - torchs.weights[name]).abs().max() < 1e-3


def test_squared_error() -> None:
    """The other loss: its gradient and value, beside torch's."""
    from benchmark.training.kernels import optimizers, program
    from benchmark.training.kernels.layout import Layout, Shape

    rng = np.random.default_rng(3)
    widths, rows = (7, 6, 3), 10
    inputs, targets = rng.random((rows, 7), np.float32), rng.random((rows, 3), np.float32)
    layout, module = Layout(Shape(widths), {}, rows), make(network(*widths)).double()
    values = layout.empty()
    for name, tensor in zip(("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"), module.parameters(), strict=True):
        tensor.data = torch.from_numpy(rng.random(tensor.shape).astype(np.float32) - 0.4).double()
        layout.write(values, name, tensor.detach().float().numpy())
    loss = (module(torch.from_numpy(inputs).double()) - torch.from_numpy(targets)).pow(2).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    order, labels, room = np.arange(rows), np.zeros(1, np.int64), layout.evaluation
    given = inputs.ravel(), np.zeros(0, np.uint8), np.array([0, 1], np.float32), 7, layout.used, layout.features, labels
    found = program.evaluate(
        room.table, 1, values, layout.index, room.work, *given, targets.ravel(), order, room.lanes
    )  # fmt: skip
    assert found[0] / rows == pytest.approx(float(loss.detach()), rel=1e-6)
    room, numbers = layout.training, np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    program.train(
        room.table, optimizers.SGD, 1, numbers, np.ones(1), values, layout.empty(), layout.empty(), layout.mask,
        layout.gradients, layout.index, room.work, *given, targets.ravel(), order, 0, rows, room.lanes,
    )  # fmt: skip
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        moved = layout.read(values, name, parameter.shape)
        assert np.abs(moved - (parameter - parameter.grad).detach().numpy()).max() < 1e-6


def test_exp_and_log_are_close() -> None:
    from benchmark.training.kernels import functions
    from benchmark.training.kernels.cache import inner
    from benchmark.training.kernels.vector import load, store, zeros

    @inner
    def exponentials(x: Any, out: Any) -> None:
        for i in range(0, x.size, 8):
            store(out, i, functions.exp(zeros(8), load(zeros(8), x, i)))

    x = np.linspace(-86.9, 0, 80_000, dtype=np.float32)
    out = np.empty_like(x)
    exponentials(x, out)
    assert np.abs(out / np.exp(x.astype(np.float64)) - 1).max() < 1.5e-7
    special = np.array([np.nan, -np.inf, -1e30, -0.0, 0, -87, -88, -1], np.float32)
    out = np.empty_like(special)
    exponentials(special, out)
    assert np.isnan(out[0])
    assert (out[1:3] > 0).all()
    assert out[3] == out[4] == 1
    for value in np.geomspace(1, 1e30, 2000):
        assert functions.log(value) == pytest.approx(np.log(value), rel=4e-15, abs=1e-15)
    assert np.isnan(functions.log(np.inf))


def test_normal_numbers_are_normal() -> None:
    found = portable_normals((500, 400), stream(3, "init")).double()
    assert (found.mean().abs(), (found.std() - 1).abs()) < (0.01, 0.01)
    assert (found.pow(4).mean() - 3).abs() < 0.1
    ranks = found.flatten().sort().values
    normal = torch.distributions.Normal(0, 1).cdf(ranks)  # type: ignore[no-untyped-call]
    assert (normal - torch.linspace(0, 1, len(ranks), dtype=torch.float64)).abs().max() < 1.63 / len(ranks) ** 0.5
    assert portable_normals((3,), stream(3, "init")).shape == (3,)
