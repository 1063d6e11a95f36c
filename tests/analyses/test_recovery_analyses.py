"""The analyses of recovery and of linear models, end to end on networks of a few weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_once import run_all

from benchmark.protocols import Protocol, load, parse
from benchmark.protocols.cells import Cell
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.utils.errors import BadInput
from benchmark.utils.npz import unpack_bytes

UNITS, WIDTH = 2, 8


def small(of: str, methods: dict[str, Any], **fields: Any) -> Protocol:
    """A committed protocol, shrunk: 6 planted weights of 16, two seeds."""
    document = copy.deepcopy(load(of).document)
    document["network"]["widths"] = [WIDTH, UNITS, 1]
    document["pruning"]["prunable"] = {"fc1.weight": [UNITS, WIDTH]}
    document["levels"] = {"rule": "listed", "densities": [6 / 16]}
    document["statistics"]["looks"] = [{"seeds": 2, "spent": 0.05}]
    document["methods"] = {name: {"levels": [1], **spec} for name, spec in methods.items()}
    return parse({**document, "id": "tests/small", "seeds": [0, 1], **fields}, "small.yaml")


def measured(protocol: Protocol, root: Path, method: str, seed: int = 0) -> tuple[dict[str, float], dict[str, Any]]:
    """Numbers and curves of one record."""
    store, cell = Store(root), Cell(method, 1, seed)
    record = store.read(protocol, cell)
    assert isinstance(record, Record)
    assert record.analysed is not None
    path = store.curves_path(protocol, cell)
    curves = unpack_bytes(path.read_bytes(), 10**6) if path.exists() else {}
    numbers = {name: number.value for name, number in record.analysed.items()}
    assert record.cost is not None
    return numbers | {"updates": record.cost.train_steps}, curves


def test_planted_networks(tmp_path: Path) -> None:
    few = {"examples": 300}
    protocol = small(
        "iht/planted",
        {
            "oracle": {"analysis": "iht", "parameters": {"oracle": True, "steps": 60, **few}},
            "iht": {"analysis": "iht", "parameters": {"refresh": 2, "steps": 7, **few}},
            "imp": {"analysis": "planted-imp", "parameters": {"updates": 9, "learning_rate": 0.05, **few}},
        },
    )
    run_all(protocol, tmp_path)
    for seed in protocol.seeds:
        numbers, curves = measured(protocol, tmp_path, "oracle", seed)
        assert numbers["psnr"] > 120
        assert numbers["support_overlap"] == 100
        assert numbers["weight_error"] < 1e-6
        assert curves["psnr"][-1] == numbers["psnr"]
    numbers, curves = measured(protocol, tmp_path, "iht")
    assert curves["step"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert curves["psnr"].shape == (7,)
    assert curves["objective"].shape == (7, 11)
    assert numbers["updates"] == 77
    numbers, curves = measured(protocol, tmp_path, "imp")
    left = curves["weights_left"].tolist()
    assert left == [18, 16, 14, 13, 12, 11, 10, 9, 8, 7, 6]  # a tenth of 2 x 8 + 2 a round, one at least
    assert numbers["updates"] == 9 * len(left)
    assert 0 <= numbers["support_overlap"] <= 100


def test_the_guarantee(tmp_path: Path) -> None:
    name = "recovery-guarantee"
    protocol = small(
        "iht/guarantee",
        {
            "theorem": {"analysis": name, "parameters": {"kept": "theorem", "planted": "opposite", "examples": 2000}},
            "same": {"analysis": name, "parameters": {"kept": "planted", "planted": "opposite", "examples": 2000}},
        },
        seeds=[3, 4],
    )
    run_all(protocol, tmp_path)
    for seed in protocol.seeds:
        theorem, curves = measured(protocol, tmp_path, "theorem", seed)
        same, _ = measured(protocol, tmp_path, "same", seed)
        assert theorem["exact"] == same["exact"] == 100
        assert theorem["condition_met"] == 0, "32 times 6 is more than 16 weights"
        assert (theorem["kept_weights"], same["kept_weights"], same["columns"]) == (16, 6, 16)
        assert theorem["least_apart"] == 100
        bounds = [theorem[name] for name in ("alpha", "sampled_alpha", "sampled_beta", "beta")]
        assert bounds == pytest.approx(sorted(bounds), rel=1e-12), "supports drawn at random are no wider than all"
        errors = curves["weight_error"]
        assert errors[0] == 1
        assert (np.diff(errors) <= 0).all(), "at a linear rate without thresholding"
        assert theorem["contraction"] == pytest.approx((errors[-1] / errors[0]) ** (1 / theorem["iterations"]))


def test_linear_models(tmp_path: Path) -> None:
    document = copy.deepcopy(load("elesedy/linear-10").document)
    document["network"]["widths"], document["pruning"]["prunable"] = [3, 1], {"fc1.weight": [1, 3]}
    document |= {"levels": {"rule": "listed", "densities": [1 / 3]}, "seeds": [0, 1], "id": "tests/linear"}
    document["statistics"]["looks"] = [{"seeds": 2, "spent": 0.05}]
    gaussian = {"analysis": "linear-imp", "parameters": {"design": "gaussian", "rows": 9, "sparse": True}}
    document["methods"] = {
        "orthogonal": {"analysis": "linear-imp", "parameters": {"rows": 9}, "levels": [1]},
        "gaussian": {**gaussian, "levels": [1]},
    }
    protocol = parse(document, "linear.yaml")
    run_all(protocol, tmp_path)
    numbers, _ = measured(protocol, tmp_path, "orthogonal")
    assert numbers == {
        "elimination": 100,
        "projection": 100,
        "smallest_projection": 100,
        "start_matters": 0,
        "updates": 0,
    }
    numbers, _ = measured(protocol, tmp_path, "gaussian", 1)
    assert numbers["elimination"] == 100
    assert 0 < numbers["recovered"] <= 100


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"analysis": "iht", "parameters": {"steps": 0}}, "steps and examples are 1 at least"),
        ({"analysis": "planted-imp", "parameters": {"learning_rate": 0.0}}, "learning_rate above 0"),
        ({"analysis": "recovery-guarantee", "parameters": {"kept": "all"}}, "kept is theorem or planted"),
        ({"analysis": "linear-imp"}, "is no linear model of one output"),
    ],
)
def test_what_cannot_be_measured_is_said(tmp_path: Path, spec: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        run_all(small("iht/planted", {"wrong": spec}), tmp_path)


def test_a_network_of_another_kind_is_refused(tmp_path: Path) -> None:
    protocol = small("iht/planted", {"iht": {"analysis": "iht"}})
    network = {**protocol.document["network"], "widths": [WIDTH, UNITS, 2]}
    with pytest.raises(BadInput, match=r"Use \[d, m, 1\]"):
        run_all(parse({**protocol.document, "network": network}, "small.yaml"), tmp_path)
