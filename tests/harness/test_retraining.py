"""Fine-tuning, weight rewinding and learning-rate rewinding, once and round after round, on the tiny protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.harness.harness import Harness, Settings
from benchmark.planning.plan import plan
from benchmark.protocols import Protocol, load, load_all, parse
from benchmark.protocols.cells import Cell
from benchmark.records.store import Store
from benchmark.utils import strict_yaml
from benchmark.utils.errors import BadInput

SCORED = {"rounds": 1, "scores": "trained"}
CHAIN = {"rounds": "levels", "scores": "trained"}
METHODS: dict[str, dict[str, Any]] = {
    "lr-rewind": {**SCORED, "restart": 6, "weights": "kept"},
    "lr-rewind-chain": {**CHAIN, "restart": 6, "weights": "kept"},
    "fine-tune-chain": {**CHAIN, "restart": "trained", "retrain_steps": 8},
    "rewind-chain": {**CHAIN, "restart": 6},
}


def with_methods(tiny_path: Path, methods: dict[str, dict[str, Any]]) -> Protocol:
    """The tiny protocol with these schedules and no other method, a learning rate that drops at step 10."""
    document = strict_yaml.load_file(tiny_path)
    common = {"pruner": "magnitude", "allocation": "layerwise", "levels": [1, 2]}
    document["methods"] = {name: {**common, "schedule": schedule} for name, schedule in methods.items()}
    document["recipe"]["drops"] = {"at": [10], "unit": "step", "factor": 0.1}
    document["seeds"], document["sources"] = [0], {}
    return parse(document, "tiny")


@pytest.fixture(scope="module")
def trained(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Harness, dict[str, list[Any]]]:
    """All methods run once; for each cell what `Tickets.start` gave and what training ended with."""
    protocol = with_methods(tiny_path, METHODS)
    store, seen = Store(tmp_path_factory.mktemp("results")), dict[str, list[Any]]()
    harness = Harness(protocol, store, Settings())
    own = harness.train

    def watched(ready: Any) -> Any:
        outcomes = own(ready)
        for each, outcome in zip(ready, outcomes, strict=True):
            replica, cell = each.replica, each.cell
            about = [replica.start, replica.first_step, each.steps, replica.masks, outcome]
            seen[f"{cell.method} {cell.level}"] = about
        return outcomes

    harness.train = watched  # type: ignore[method-assign]
    for planned in plan([(protocol, name) for name in ("dense", *METHODS)], store):
        assert harness.run(planned.job)
    return harness, seen


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_learning_rate_rewinding_goes_on_from_the_trained_weights(trained: Any) -> None:
    _, seen = trained
    dense = seen["dense 0"][4]
    for level in (1, 2):
        start, first, steps, *_ = seen[f"lr-rewind {level}"]
        assert same(start, dense.weights)
        assert (first, steps) == (6, 14)
    first_round, second = seen["lr-rewind-chain 1"], seen["lr-rewind-chain 2"]
    assert same(first_round[0], dense.weights)
    assert same(second[0], first_round[4].weights)  # not the dense network's
    assert second[1:3] == [6, 14]


def test_iterative_fine_tuning_goes_on_from_the_round_before(trained: Any) -> None:
    _, seen = trained
    first_round, second = seen["fine-tune-chain 1"], seen["fine-tune-chain 2"]
    assert same(first_round[0], seen["dense 0"][4].weights)
    assert same(second[0], first_round[4].weights)
    assert first_round[1:3] == second[1:3] == [20, 8]


def test_weight_rewinding_goes_back_to_the_dense_networks_step(trained: Any) -> None:
    _, seen = trained
    for level in (1, 2):
        start, first, steps, *_ = seen[f"rewind-chain {level}"]
        assert same(start, seen["dense 0"][4].snapshots[6])
        assert (first, steps) == (6, 14)


def test_masks_of_rounds_are_nested_and_counted(trained: Any) -> None:
    harness, seen = trained
    for name in ("lr-rewind-chain", "fine-tune-chain"):
        one, two = seen[f"{name} 1"][3], seen[f"{name} 2"][3]
        assert all(not bool((two[tensor] & ~one[tensor]).any()) for tensor in one)
        cost = harness.store.read(harness.protocol, Cell(name, 2, 0)).cost
        assert cost.mask_train_steps == 20 + (8 if name == "fine-tune-chain" else 14)
        assert cost.train_steps == (8 if name == "fine-tune-chain" else 14)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"rounds": 1, "scores": "initial", "restart": 0, "weights": "kept"}, "needs scores: trained"),
        ({**SCORED, "restart": "trained", "weights": "kept"}, "the step at which the learning rate starts again"),
    ],
)
def test_what_cannot_be_kept(tiny_path: Path, schedule: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        with_methods(tiny_path, {"m": schedule})


def test_new_weights_cannot_go_on_from_kept_ones(tiny_path: Path) -> None:
    document = strict_yaml.load_file(tiny_path)
    schedule = {**SCORED, "restart": 0, "weights": "kept"}
    document["methods"] = {
        "m": {"pruner": "magnitude", "allocation": "layerwise", "levels": [1], "schedule": schedule},
        "m+reinit": {"of": "m", "control": "reinitialise", "draws": 1, "levels": [1]},
    }
    document["sources"] = {}
    with pytest.raises(BadInput, match="new weights start at step 0"):
        parse(document, "tiny")


def test_renda_retrains_for_the_epochs_that_the_plot_data_names() -> None:
    """Rewinding leaves so many epochs of 50,000 / 128 updates, in whole ones: the checkpoints of the code's README."""
    protocol = load("renda2020/resnet20-cifar10")
    for name, spec in protocol.methods.items():
        epochs = name.rpartition("-")[2]
        if not epochs.isdigit():
            continue
        schedule = protocol.pruning_method(name).schedule
        left = schedule.retrain_steps or protocol.recipe.steps - int(schedule.restart)
        assert left == -(-int(epochs) * 50_000 // 128), (name, spec)
        assert 71_108 - left in (4701, 20_326, 35_951)


def test_every_protocol_of_a_paper_says_what_was_not_read() -> None:
    """Wherever a field is a choice of ours, its source says so; nothing is silently invented."""
    for protocol in load_all():
        if not protocol.trains:
            continue
        assert {"recipe", "statistics"} <= set(protocol.sources), protocol.id
        assert protocol.deviations, protocol.id
