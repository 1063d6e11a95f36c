"""BINGO's significance by hand, and how much of a network can go: networks whose accuracies are known."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from line_networks import classifier, line_data
from made_once import made_once, run_all
from torch import nn
from toy_analysis import analysing

from baselines.bingo import Bingo
from benchmark.analyses.accuracy_floor import accuracy, kept
from benchmark.api import Run
from benchmark.protocols import Protocol, parse
from benchmark.protocols.cells import Cell
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.utils.npz import unpack_bytes

FLOOR = {"floor": 40.0, "step": 0.1}


def run_of(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, seed: int = 0) -> Run:
    masks = {"weight": torch.ones_like(network.get_parameter("weight"), dtype=torch.bool)}
    return Run(
        network=network,
        masks=masks,
        frozen={},
        loss=nn.functional.cross_entropy,
        batch=lambda: (inputs, labels),
        rng=lambda _purpose: torch.Generator().manual_seed(seed),
    )


@pytest.mark.parametrize(("formula", "back", "expected"), [
    # From weight 3 back to -1: all eight points are right before and wrong after. (0.5 + 1 - 1 / 1) / 2 = 0.25.
    ("printed", "initial", 0.25),
    ("released", "initial", 0.5),  # (0 + 1) / 2
    # To 0: class 0 is said of all, half are right. (0.5 + 1 - 0.5 / 1) / 2 = 0.5, and (0 + 0.5) / 2 = 0.25.
    ("printed", "zero", 0.5),
    ("released", "zero", 0.25),
])  # fmt: skip
def test_one_trial_by_hand(formula: Any, back: Any, expected: float) -> None:
    data, network = line_data(), classifier(-1.0)
    hook = Bingo(formula, back, share=1.0)
    run = run_of(network, data.test_inputs, data.test_labels)
    hook.at(0, run)
    with torch.no_grad():
        network.get_parameter("weight").copy_(classifier(3.0).get_parameter("weight"))
    before = copy.deepcopy(network.state_dict())
    hook.at(1, run)
    assert torch.equal(hook.scores["weight"], torch.full((2, 1), expected))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert hook.forward_passes == hook.facts()["forward_passes"] == 2


def test_a_batch_of_which_nothing_is_right_says_nothing() -> None:
    data, network = line_data(), classifier(-1.0)
    hook, run = Bingo(share=1.0), run_of(network, data.test_inputs, data.test_labels)
    hook.at(0, run)
    hook.at(1, run)
    assert torch.equal(hook.scores["weight"], torch.full((2, 1), 0.5)), "A_before is 0, by which would be divided"


def test_only_weights_that_were_touched_change_and_a_resumed_hook_goes_on() -> None:
    """Against a plain loop over weights with the same draws."""
    torch.manual_seed(1)
    network, inputs = nn.Linear(6, 3), torch.randn(40, 6)
    labels = torch.randint(3, (40,))
    run = run_of(network, inputs, labels)
    hook = Bingo(share=0.3)
    hook.at(0, run)
    initial, slow = network.weight.detach().clone(), torch.full((3, 6), 0.5)
    for step in range(1, 5):
        with torch.no_grad():
            network.weight.add_(torch.randn(3, 6))
        run.rng = lambda _purpose, step=step: torch.Generator().manual_seed(step)  # type: ignore[misc]
        if step == 3:
            fresh = Bingo(share=0.3)
            fresh.resume({name: value.clone() for name, value in hook.state().items()}, run)
            hook = fresh
        hook.at(step, run)
        draws = torch.rand(3, 6, generator=torch.Generator().manual_seed(step))
        trial = network.weight.detach().clone()
        touched = [(i, j) for i in range(3) for j in range(6) if draws[i, j] < 0.3]
        for i, j in touched:
            trial[i, j] = initial[i, j]

        def right(weight: torch.Tensor) -> float:
            return float(((inputs @ weight.T + network.bias).argmax(1) == labels).double().mean())

        before, after = right(network.weight), right(trial)
        for i, j in touched:
            slow[i, j] = (slow[i, j] + 1 - abs(before - after) / before) / 2
    assert torch.allclose(hook.scores["weight"], slow, atol=1e-6)
    assert hook.forward_passes == 8


def test_what_is_kept() -> None:
    scores = {"a": torch.tensor([[1.0, 4.0], [3.0, 2.0]]), "b": torch.tensor([5.0, 5.0, 5.0, 5.0])}
    everywhere = kept(scores, 0.75, "global")
    assert everywhere["a"].tolist() == [False, True, True, False]
    assert everywhere["b"].all()
    alike = kept(scores, 0.5, "layerwise")
    assert alike["a"].tolist() == [False, True, True, False]
    assert alike["b"].tolist() == [True, True, False, False], "of equal ones the first"


def test_accuracy_under_masks_leaves_the_network_alone() -> None:
    network, data = classifier(2.0), line_data()
    assert accuracy(network, {"weight": torch.tensor([True, True])}, data) == 100.0
    assert accuracy(network, {"weight": torch.tensor([False, False])}, data) == 50.0
    assert torch.equal(network.get_parameter("weight"), classifier(2.0).get_parameter("weight"))


@pytest.fixture(scope="module")
def protocol(tiny_protocol: Protocol) -> Protocol:
    document = analysing(tiny_protocol)
    document["methods"] = {
        name: {"analysis": "accuracy-floor", "parameters": {**FLOOR, **parameters}, "levels": [0]}
        for name, parameters in {
            "bingo": {"scores": "bingo", "share": 0.1},
            "magnitude": {"scores": "magnitude"},
            "movement": {"scores": "movement"},
            "random": {"scores": "random", "allocation": "layerwise"},
        }.items()
    }
    document["statistics"]["margins"]["analysed"] = {"pruned_at_floor": 10.0}
    return parse({**document, "id": "tests/floor", "seeds": [0]}, "floor.yaml")


@pytest.fixture(scope="module")
def measured(protocol: Protocol, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Record, dict[str, Any]]]:
    store = Store(made_once(tmp_path_factory, "floor", lambda root: run_all(protocol, root)))
    found = {}
    for name in protocol.analyses:
        record = store.read(protocol, Cell(name, 0, 0))
        assert record is not None
        assert record.status == "finished", record.reason
        curves = unpack_bytes(store.curves_path(protocol, Cell(name, 0, 0)).read_bytes(), 1 << 20)
        found[name] = (record, curves)
    return found


def test_the_network_is_the_same_with_the_hook(measured: dict[str, tuple[Record, dict[str, Any]]]) -> None:
    """The dense network that the harness trains, and the one trained here while scores are gathered."""
    dense = {name: record.analysed["accuracy"].value for name, (record, _) in measured.items() if record.analysed}
    assert len(set(dense.values())) == 1, dense
    whole = {name: curves["accuracy"][0] for name, (_, curves) in measured.items()}
    assert whole == dense


def test_the_floor_is_the_last_share_before_the_first_accuracy_below_it(
    measured: dict[str, tuple[Record, dict[str, Any]]], protocol: Protocol
) -> None:
    for name, (record, curves) in measured.items():
        assert record.analysed is not None
        below = [n for n, value in enumerate(curves["accuracy"]) if value < 40.0]
        last = below[0] - 1 if below else len(curves["accuracy"]) - 1
        assert record.analysed["pruned_at_floor"].value == pytest.approx(100 * curves["pruned"][last]), name
        assert record.analysed["accuracy_at_floor"].value == curves["accuracy"][last] >= 40.0
        assert record.analysed["training_passes"].value == 3 * protocol.recipe.steps
    bingo, magnitude = measured["bingo"][0].analysed, measured["magnitude"][0].analysed
    assert bingo is not None
    assert magnitude is not None
    assert bingo["score_passes"].value == 2 * (protocol.recipe.steps - 1)
    assert magnitude["score_passes"].value == 0
