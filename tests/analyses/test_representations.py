"""Similarities of layers: values that are known, a slow computation beside, and the analysis end to end."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_once import run_all
from scipy.linalg import cholesky, svdvals
from torch import Tensor
from toy_analysis import analysing

from benchmark.analyses import load_analysis
from benchmark.analyses.representations import activations
from benchmark.analyses.similarity import Layer, linear_cka, mean_cca, pwcca, similarities, svcca
from benchmark.protocols import Protocol, load, parse
from benchmark.protocols.analysis import AnalysisSpec
from benchmark.protocols.cells import DENSE, Cell
from benchmark.records.store import Store
from benchmark.utils.errors import BadInput
from benchmark.utils.npz import unpack

MEASURES = (svcca, mean_cca, pwcca, linear_cka)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rotation(size: int) -> Tensor:
    return torch.linalg.qr(drawn(size, size, seed=9))[0]


@pytest.mark.parametrize("measure", MEASURES)
def test_a_rotated_scaled_and_shifted_layer_is_the_same(measure: Any) -> None:
    x = drawn(400, 6)
    assert measure(Layer.of(x), Layer.of(3.0 * x @ rotation(6) + 7.0)) == pytest.approx(1.0)


def test_linear_maps_are_seen_by_cka_alone() -> None:
    x = drawn(400, 6)
    stretched = Layer.of(x @ torch.diag(torch.tensor([1.0, 9.0, 1.0, 1.0, 1.0, 1.0], dtype=torch.float64)))
    assert mean_cca(Layer.of(x), stretched) == pytest.approx(1.0)
    assert pwcca(Layer.of(x), stretched) == pytest.approx(1.0)
    assert linear_cka(Layer.of(x), stretched) < 0.7


@pytest.mark.parametrize(("examples", "mean"), [(200, 0.49), (1000, 0.21), (5000, 0.10)])
def test_independent_layers_look_alike_where_examples_are_few(examples: int, mean: float) -> None:
    """64 units: the figures that shared methods/svcca-pruned.md gives for SVCCA."""
    one, other = Layer.of(drawn(examples, 64)), Layer.of(drawn(examples, 64, seed=1))
    assert svcca(one, other) == pytest.approx(mean, abs=0.015)


def test_by_another_way() -> None:
    """Canonical correlations by whitening covariances, CKA by matrices of inner products of examples (Kornblith et al.
    2019, Section 3: HSIC with linear kernels)."""
    x, y = drawn(300, 5).numpy(), drawn(300, 5).numpy() @ drawn(5, 7, seed=2).numpy() + drawn(300, 7, seed=3).numpy()
    xc, yc = x - x.mean(0), y - y.mean(0)
    wx, wy = (np.linalg.inv(cholesky(c.T @ c)) for c in (xc, yc))
    values = svdvals(wx.T @ xc.T @ yc @ wy)
    one, other = Layer.of(torch.from_numpy(x)), Layer.of(torch.from_numpy(y))
    assert mean_cca(one, other) == pytest.approx(values.mean())
    k, m = xc @ xc.T, yc @ yc.T
    assert linear_cka(one, other) == pytest.approx((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()))


def test_projection_weights_by_hand() -> None:
    """Two orthogonal units of lengths 3 and 1, of which the other layer has the first only: correlations 1 and 0."""
    base = torch.linalg.qr(drawn(50, 4) - drawn(50, 4).mean(0))[0]
    base = torch.linalg.qr(base - base.mean(0))[0]
    one, other = Layer.of(base[:, :2] * torch.tensor([3.0, 1.0])), Layer.of(base[:, [0, 2]])
    assert mean_cca(one, other) == pytest.approx(0.5)
    assert pwcca(one, other) == pytest.approx(0.75)


def test_directions_that_do_not_vary_do_not_count() -> None:
    """A dead unit, and one that is a copy; what holds little of the variance is left out by SVCCA."""
    x = drawn(200, 3)
    dead = torch.cat([x, torch.zeros(200, 1), x[:, :1]], 1)
    assert Layer.of(dead).leading().shape[1] == 3
    assert mean_cca(Layer.of(x), Layer.of(dead)) == pytest.approx(1.0)
    nothing = Layer.of(torch.ones(200, 2, dtype=torch.float64))
    assert similarities(nothing, Layer.of(x), 0.99) == dict.fromkeys(("svcca", "mean_cca", "pwcca", "linear_cka"), 0.0)
    uneven = Layer.of(x * torch.tensor([10.0, 10.0, 0.1]))
    assert uneven.leading(0.99).shape[1] == 2
    assert svcca(uneven, Layer.of(x[:, :2])) == pytest.approx(1.0, abs=1e-2)


def compared(tiny: Protocol, **fields: Any) -> dict[str, Any]:
    """Layers of 8 and 2 units, so that the tiny data hold 100 examples a unit."""
    document = analysing(tiny)
    document["network"]["widths"] = [12, 3, 3, 4]
    document["pruning"]["prunable"] = {"fc1.weight": [3, 12], "fc2.weight": [3, 3], "fc3.weight": [4, 3]}
    document["data"] |= {"validation": 0, "split": "none"}
    document["evaluation"] |= {"test_at_validation_minima": False, "reported": "last", "early_stop": "none"}
    own = {"analysis": "representations", "levels": [0]}
    few = {"examples": 400}  # all 400 that there are
    document["methods"] = {
        "imp": copy.deepcopy(tiny.document["methods"]["imp"]),
        "same": {**own, "parameters": few},
        "floor": {**own, "parameters": {**few, "reference": "shuffled"}},
        "independent": {**own, "parameters": {**few, "reference": "independent"}},
        "earlier": {**own, "parameters": {**few, "reference": "earlier"}},
        "pruned": {"analysis": "representations", "of": "imp", "parameters": few, "levels": [3]},
    }
    document["statistics"]["margins"]["analysed"] = {"svcca": 0.05}
    return {**document, "id": "tests/compared", **fields}


def test_end_to_end(tiny_protocol: Protocol, tmp_path: Path) -> None:
    """A network with itself is 1, with shuffled rows near nothing; a pruned one lies between; layers are in curves."""
    protocol = parse(compared(tiny_protocol), "compared.yaml")
    run_all(protocol, tmp_path)
    store = Store(tmp_path)
    found = {(r.method.name, r.cell.seed): r for r in store.records(protocol)}
    assert all(record.status == "finished" for record in found.values())
    numbers = {key: {n: v.value for n, v in (r.analysed or {}).items()} for key, r in found.items()}
    for seed in (0, 1):
        for name in ("svcca", "mean_cca", "pwcca", "linear_cka"):
            same, floor, pruned = (numbers[method, seed][name] for method in ("same", "floor", "pruned"))
            assert same == pytest.approx(1.0)
            assert floor < 0.3
            assert floor < pruned < 1.0
        assert numbers["same", seed]["accuracy_lost"] == 0.0
        curves = unpack(store.curves_path(protocol, Cell("pruned", 3, seed)))
        assert numbers["pruned", seed]["svcca"] == pytest.approx(curves["svcca"][:2].mean())
        assert curves["layer"].tolist() == [1.0, 2.0, 3.0]
    # The two dense networks of two seeds are each other's next.
    assert numbers["independent", 0]["mean_cca"] == pytest.approx(numbers["independent", 1]["mean_cca"], abs=0.1)
    earlier = found["earlier", 0]
    assert earlier.cost is not None
    assert earlier.cost.train_steps == 18


def test_activations_are_what_the_next_layer_reads() -> None:
    network = torch.nn.Sequential()
    network.add_module("fc1", torch.nn.Linear(2, 2, bias=False))
    network.add_module("relu", torch.nn.ReLU())
    network.add_module("fc2", torch.nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        network.fc1.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
        network.fc2.weight.copy_(torch.tensor([[1.0, -1.0]]))
    hidden, output = activations(network, ["fc1", "fc2"], torch.tensor([[1.0, 2.0], [-3.0, -4.0]]))
    assert hidden.tolist() == [[1.0, 0.0], [0.0, 4.0]]
    assert output.tolist() == [[1.0], [-4.0]]


def test_what_cannot_be_compared_is_refused(tiny_protocol: Protocol) -> None:
    protocol = parse(compared(tiny_protocol), "compared.yaml")

    def needs(method: str, level: int, of: Protocol = protocol, **parameters: Any) -> tuple[Cell, ...]:
        spec = AnalysisSpec(analysis="representations", of="imp", parameters=parameters, levels=(level,))
        methods = {**of.methods, method: spec}
        changed = of.model_copy(update={"measures": "analysis", "methods": methods})
        return load_analysis(spec).needs(changed, Cell(method, level, 0))

    assert needs("x", 3, examples=400, reference="independent") == (
        Cell("imp", 3, 0),
        Cell(DENSE, 0, 0),
        Cell(DENSE, 0, 1),
    )
    with pytest.raises(BadInput, match="300 examples are too few for 4 units"):
        needs("x", 3, examples=300)
    with pytest.raises(BadInput, match="earlier is of the dense network"):
        needs("x", 3, examples=400, reference="earlier")
    with pytest.raises(BadInput, match="fully connected networks, not resnet-20"):
        needs("x", 1, load("lth/resnet18-low-cifar10"))
    with pytest.raises(BadInput, match="none of dense, independent"):
        needs("x", 3, reference="another")
