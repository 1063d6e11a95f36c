"""Runs beside a pruned solution: the numbers against plain trainings, and that each run is trained once."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from made_once import made_once, run_all
from toy_analysis import analysing

from benchmark.analyses import load_analysis
from benchmark.analyses.solutions import Solutions
from benchmark.datasets.dataset import prepared, split
from benchmark.harness.start import initial_weights, untrained
from benchmark.networks import initial_state
from benchmark.protocols import Protocol, load, parse
from benchmark.protocols.cells import Cell
from benchmark.records.store import Store
from benchmark.training.checkpoint import load_weights
from benchmark.training.loop import train
from benchmark.training.replicas import Outcome, Replica, TrainingSetup
from benchmark.utils.errors import BadInput
from benchmark.utils.npz import unpack_bytes
from benchmark.utils.seeding import derived_seed, stream

ARMS = {"lottery": "ticket", "scratch": "scratch", "each": "scratch-each", "restart": "solution"}
LEVEL, SEEDS = 1, (0, 1)


def beside(tiny: Protocol, **fields: Any) -> dict[str, Any]:
    document = analysing(tiny)
    pruned = copy.deepcopy(tiny.document["methods"]["random"])
    pruned |= {"pruner": "magnitude", "allocation": "layerwise", "levels": [LEVEL]}
    pruned["hook"] = {"name": "gradual-magnitude", "parameters": {"begin": 4, "end": 12, "every": 2}, "starts": "dense"}
    few = {"parts": 4, "train_examples": 100}
    arms = {n: {"analysis": "solutions", "parameters": {"start": s, **few}, "of": "pruned", "levels": [LEVEL]}
            for n, s in ARMS.items()}  # fmt: skip
    arms["no-decay"] = copy.deepcopy(arms["lottery"]) | {"parameters": {"decays": False, **few}}
    arms["pruned-each"] = {"analysis": "solutions", "parameters": {"start": "pruned-each"}, "of": "pruned"}
    arms["pruned-each"]["levels"] = [LEVEL]
    document["methods"] = {"pruned": pruned, **arms}
    document["recipe"]["weight_decay"] = 0.1
    document["statistics"]["margins"]["analysed"] = {"test_accuracy": 2.0}
    return {**document, "id": "tests/solutions", "seeds": list(SEEDS), **fields}


@pytest.fixture(scope="module")
def protocol(tiny_protocol: Protocol) -> Protocol:
    return parse(beside(tiny_protocol), "solutions.yaml")


@pytest.fixture(scope="module")
def measured(protocol: Protocol, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(made_once(tmp_path_factory, "solutions", lambda root: run_all(protocol, root)))


def numbers(store: Store, protocol: Protocol, method: str, seed: int) -> dict[str, float]:
    record = store.read(protocol, Cell(method, LEVEL, seed))
    assert record is not None
    assert record.status == "finished", record.reason
    assert record.analysed is not None
    return {name: found.value for name, found in record.analysed.items()}


def solution_of(protocol: Protocol, store: Store, seed: int = 0) -> dict[str, torch.Tensor]:
    """A pruned solution's weights, as the examined protocol's harness left them."""
    networks = Store(store.work / "networks")
    (path,) = networks.weights_path(protocol.examined, Cell("pruned", LEVEL, seed), "final").parent.glob(
        f"{Cell('pruned', LEVEL, seed).name}.*safetensors"
    )
    found = load_weights(path)
    assert found is not None
    return {name: value for name, value in found.items() if name.startswith("fc")}


def plainly(protocol: Protocol, store: Store, method: str, seed: int) -> Outcome:
    """The run of a seed, trained here from what the paper says that it starts from."""
    solution = solution_of(protocol, store)
    masks = {name: solution[name] != 0 for name in protocol.pruning.prunable}
    new = stream(seed if method == "each" else 0, "analysis", "new weights")
    starts = {
        "lottery": lambda: initial_weights(protocol, 0),
        "no-decay": lambda: initial_weights(protocol, 0),
        "restart": lambda: solution,
    }
    start = starts.get(method, lambda: initial_state(untrained(protocol), protocol.network, new))()
    recipe = protocol.recipe.model_copy(update={"weight_decay": 0.0 if method == "no-decay" else 0.1})
    data = prepared(protocol, store.root)
    setup = TrainingSetup(lambda inputs: untrained(protocol, inputs), recipe, protocol.evaluation, data)
    rows = split(data, protocol.data.validation, seed)
    order = derived_seed(seed, "analysis", "order", "run")
    return train([Replica(order, start, masks, rows, recipe.steps)], setup)[0]


@pytest.mark.parametrize("method", [*ARMS, "no-decay"])
def test_runs_are_those_of_plain_trainings(protocol: Protocol, measured: Store, method: str) -> None:
    data = prepared(protocol, measured.root)
    outcomes = [plainly(protocol, measured, method, seed) for seed in SEEDS]
    nets = [untrained(protocol) for _ in range(3)]
    for net, weights in zip(nets, [o.weights for o in outcomes] + [solution_of(protocol, measured)], strict=True):
        net.load_state_dict(weights)
    with torch.no_grad():
        one, two, solution = (net(data.test_inputs).softmax(1) for net in nets)
    found = [numbers(measured, protocol, method, seed) for seed in SEEDS]
    differ = 100 * float((one.argmax(1) != two.argmax(1)).double().mean())
    right = 100 * float(((one + two).argmax(1) == data.test_labels).double().mean())
    for seed, (outcome, outputs) in enumerate(zip(outcomes, (one, two), strict=True)):
        accuracy = outcome.history.test[-1]["accuracy"]
        assert found[seed]["test_accuracy"] == pytest.approx(accuracy, abs=1e-4)
        assert found[seed]["pairwise_disagreement"] == pytest.approx(differ)
        away = 100 * float((outputs.argmax(1) != solution.argmax(1)).double().mean())
        assert found[seed]["pruned_disagreement"] == pytest.approx(away)
        assert found[seed]["ensemble_accuracy"] == pytest.approx(right)
        assert found[seed]["ensemble_gain"] == pytest.approx(right - accuracy, abs=1e-4)
        assert found[seed]["weights_left"] == protocol.level_table[LEVEL].kept


def test_a_line_goes_from_the_run_to_the_pruned_solution(protocol: Protocol, measured: Store) -> None:
    path = measured.curves_path(protocol, Cell("scratch", LEVEL, 1))
    curves = unpack_bytes(path.read_bytes(), 10**6)
    line, found = curves["train_loss"], numbers(measured, protocol, "scratch", 1)
    assert curves["place"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert found["train_loss"] == pytest.approx(line[0])
    assert found["highest_train_loss"] == pytest.approx(line.max())
    assert found["train_loss_barrier"] == pytest.approx(line.max() - (line[0] + line[-1]) / 2)


def test_a_run_is_trained_once_for_all_cells(protocol: Protocol, measured: Store) -> None:
    copies = measured.weights_path(protocol, Cell("copies", LEVEL, 0), "x").parent
    both = 1  # the first run of "scratch" is that of "scratch-each"
    assert len(list(copies.glob("*.safetensors"))) == len(SEEDS) * (len(ARMS) + 1) - both
    record = measured.read(protocol, Cell("lottery", LEVEL, 1))
    assert record is not None
    assert record.cost is not None
    assert record.cost.train_steps == protocol.recipe.steps  # its own run's


def test_pruned_solutions_of_all_seeds(protocol: Protocol, measured: Store) -> None:
    data, nets = prepared(protocol, measured.root), [untrained(protocol) for _ in SEEDS]
    for net, seed in zip(nets, SEEDS, strict=True):
        net.load_state_dict(solution_of(protocol, measured, seed))
    with torch.no_grad():
        one, two = (net(data.test_inputs).argmax(1) for net in nets)
    found = numbers(measured, protocol, "pruned-each", 1)
    assert found["test_accuracy"] == pytest.approx(100 * float((two == data.test_labels).double().mean()), abs=1e-4)
    assert found["pairwise_disagreement"] == pytest.approx(100 * float((one != two).double().mean()))
    assert "train_loss_barrier" not in found


def test_what_cannot_be_compared_is_refused(tiny_protocol: Protocol) -> None:
    for start, decays, words in (("tickets", True, "none of"), ("pruned-each", False, "not")):
        with pytest.raises(ValueError, match=words):
            Solutions(start=start, decays=decays)
    alone = parse(beside(tiny_protocol, seeds=[0]), "solutions.yaml")
    with pytest.raises(BadInput, match="several seeds"):
        load_analysis(alone.analyses["lottery"]).needs(alone, Cell("lottery", LEVEL, 0))
    document = beside(tiny_protocol)
    del document["methods"]["lottery"]["of"]
    nothing = parse(document, "solutions.yaml")
    with pytest.raises(BadInput, match="Name a method as of"):
        load_analysis(nothing.analyses["lottery"]).needs(nothing, Cell("lottery", LEVEL, 0))


def test_the_frozen_protocol_looks_at_one_solution() -> None:
    frozen = load("evci/lenet5-mnist")
    for method, spec in frozen.analyses.items():
        needed = load_analysis(spec).needs(frozen, Cell(method, 1, frozen.seeds[3]))
        seeds = frozen.seeds if method == "pruned-each" else frozen.seeds[:1]
        assert [cell.seed for cell in needed] == list(seeds)
