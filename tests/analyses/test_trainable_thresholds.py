"""DST's measure: its numbers follow from its curves, without thresholds it is the plain training, and going further
begins with the shorter training."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from made_once import made_once, run_all
from toy_analysis import analysing

from benchmark.analyses.trainable_thresholds import TrainableThresholds
from benchmark.protocols import Protocol, parse
from benchmark.protocols.cells import Cell
from benchmark.records.store import Store
from benchmark.utils.errors import BadInput
from benchmark.utils.npz import unpack_bytes

EPOCHS = {
    "short": {"epochs": 2, "alpha": 0.05},
    "further": {"epochs": 2, "further": 4, "alpha": 0.05},
    "plain": {"epochs": 2, "thresholds": False},
}
Found = dict[str, tuple[dict[str, float], dict[str, Any]]]


def document_of(tiny: Protocol) -> dict[str, Any]:
    """Four epochs of ten updates, of 310 examples, at a constant rate."""
    document = analysing(tiny)
    document["methods"] = {
        name: {"analysis": "trainable-thresholds", "parameters": parameters, "levels": [0]}
        for name, parameters in EPOCHS.items()
    }
    document["recipe"] |= {"steps": 40, "batch_size": 31, "last_partial_batch": "drop", "arithmetic": "torch"}
    document["evaluation"] |= {"first": 10, "every": 10, "test_every": 10}
    document["statistics"]["margins"]["analysed"] = {"kept": 1.0}
    return {**document, "id": "tests/thresholds", "seeds": [0]}


@pytest.fixture(scope="module")
def protocol(tiny_protocol: Protocol) -> Protocol:
    return parse(document_of(tiny_protocol), "thresholds.yaml")


@pytest.fixture(scope="module")
def found(protocol: Protocol, tmp_path_factory: pytest.TempPathFactory) -> Found:
    store = Store(made_once(tmp_path_factory, "thresholds", lambda root: run_all(protocol, root)))
    made = {}
    for name in protocol.analyses:
        record = store.read(protocol, Cell(name, 0, 0))
        assert record is not None
        assert record.status == "finished", record.reason
        assert record.analysed is not None
        curves = unpack_bytes(store.curves_path(protocol, Cell(name, 0, 0)).read_bytes(), 1 << 20)
        made[name] = ({number: each.value for number, each in record.analysed.items()}, curves)
    return made


def test_numbers_follow_from_the_curves(found: Found, protocol: Protocol) -> None:
    sizes = list(protocol.pruning.tensor_sizes.values())
    for name, (numbers, curves) in found.items():
        shares = [sum(p * s for p, s in zip(row, sizes, strict=True)) / sum(sizes) for row in curves["kept"].tolist()]
        accuracies = curves["accuracy"].tolist()
        assert len(shares) == len(accuracies) == (4 if name == "further" else 2)
        best = accuracies[:2].index(max(accuracies[:2]))
        assert numbers["kept"] == pytest.approx(shares[1]), name
        assert numbers["kept_at_best"] == pytest.approx(shares[best])
        assert numbers["best_accuracy"] == max(accuracies[:2])
        assert numbers["accuracy"] == accuracies[1]
        ends = (numbers["kept_in_first"], numbers["kept_in_last"])
        assert ends == (curves["kept"][1][0], curves["kept"][1][-1])
        assert (numbers["kept_further"], numbers["accuracy_further"]) == (pytest.approx(shares[-1]), accuracies[-1])


def test_thresholds_take_weights_away_and_without_them_none_go(found: Found) -> None:
    assert 0 < found["short"][0]["kept"] < 100
    assert found["plain"][0]["kept"] == found["plain"][0]["kept_at_best"] == 100
    assert found["plain"][0]["resets"] == 0


def test_going_further_begins_with_the_shorter_training(found: Found) -> None:
    """To the bit."""
    short, further = found["short"][1], found["further"][1]
    assert short["accuracy"].tolist() == further["accuracy"][:2].tolist()
    assert short["kept"].tolist() == further["kept"][:2].tolist()
    assert further["kept"][-1].tolist() != short["kept"][-1].tolist()


def test_what_cannot_be_measured(protocol: Protocol) -> None:
    changing = copy.deepcopy(protocol.document)
    changing["recipe"]["drops"] = {"at": [3], "unit": "step", "factor": 0.5}
    other, cell = parse({**changing, "id": "tests/changing"}, "changing.yaml"), Cell("further", 0, 0)
    assert TrainableThresholds(2, 4).needs(protocol, cell) == ()
    assert TrainableThresholds(2).needs(other, cell) == ()
    with pytest.raises(BadInput, match="goes further under a changing learning rate"):
        TrainableThresholds(2, 4).needs(other, cell)
    for wrong in ({"epochs": 0}, {"epochs": 4, "further": 2}, {"alpha": -1.0}):
        with pytest.raises(ValueError, match="epochs"):
            TrainableThresholds(**wrong)
