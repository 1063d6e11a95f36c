"""Instability to SGD noise: its parts by hand, and end to end against a plain training of the second copy."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from line_networks import classifier, line_data
from made_once import made_once, run_all
from torch import nn
from toy_analysis import analysing

from benchmark.analyses import load_analysis
from benchmark.analyses.instability import disagreement, distance
from benchmark.datasets.dataset import prepared, split
from benchmark.harness.start import initial_weights, untrained
from benchmark.protocols import Protocol, load, parse
from benchmark.protocols.analysis import AnalysisSpec
from benchmark.protocols.cells import Cell
from benchmark.pruning.masks import full_masks
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.training.loop import train
from benchmark.training.replicas import Replica, TrainingSetup
from benchmark.utils.errors import BadInput
from benchmark.utils.npz import unpack_bytes
from benchmark.utils.seeding import derived_seed

FEW = {"points": 5, "train_examples": 100}


def unstable(tiny: Protocol, **fields: Any) -> dict[str, Any]:
    document = analysing(tiny)
    methods = {name: copy.deepcopy(tiny.document["methods"][name]) for name in ("imp", "imp-rewind")}
    methods |= {
        "noise": {"analysis": "instability", "parameters": FEW, "levels": [0]},
        "noise-6": {"analysis": "instability", "parameters": {**FEW, "step": 6}, "levels": [0]},
        "noise-imp": {"analysis": "instability", "parameters": FEW, "of": "imp", "levels": [2]},
        "noise-imp-6": {"analysis": "instability", "parameters": {**FEW, "step": 6}, "of": "imp-rewind", "levels": [2]},
    }
    document["methods"] = methods
    document["statistics"]["margins"]["analysed"] = {"test_error_barrier": 2.0}
    return {**document, "id": "tests/unstable", "seeds": [0], **fields}


@pytest.fixture(scope="module")
def protocol(tiny_protocol: Protocol) -> Protocol:
    return parse(unstable(tiny_protocol), "unstable.yaml")


@pytest.fixture(scope="module")
def measured(protocol: Protocol, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(made_once(tmp_path_factory, "unstable", lambda root: run_all(protocol, root)))


def record_of(store: Store, protocol: Protocol, cell: Cell) -> tuple[Record, dict[str, Any]]:
    record = store.read(protocol, cell)
    assert record is not None
    assert record.status == "finished", record.reason
    return record, unpack_bytes(store.curves_path(protocol, cell).read_bytes(), 10**6)


@pytest.mark.parametrize("first", [0, 6])
def test_the_copies_are_trained_from_one_state(protocol: Protocol, measured: Store, first: int) -> None:
    """The line's ends are the dense network, and a plain training from its state after `first` updates."""
    record, curves = record_of(measured, protocol, Cell("noise-6" if first else "noise", 0, 0))
    dense = protocol.examined
    data = prepared(dense, measured.root)
    rows = split(data, dense.data.validation, 0)
    setup = TrainingSetup(lambda inputs: untrained(dense, inputs), dense.recipe, dense.evaluation, data)
    everything, start = full_masks(dense.pruning.prunable), initial_weights(dense, 0)
    (own,) = train([Replica(0, start, everything, rows, 20, 0, (6,))], setup)
    seed = derived_seed(0, "analysis", "order", "second copy")
    begun = own.snapshots[6] if first else start
    (other,) = train([Replica(seed, begun, everything, rows, 20, first)], setup)
    for place, outcome in ((0, own), (-1, other)):
        assert curves["test_error"][place] == pytest.approx(100 - outcome.history.test[-1]["accuracy"], abs=1e-4)
    line = curves["test_error"]
    assert record.analysed is not None
    assert record.analysed["test_error_barrier"].value == pytest.approx(line.max() - (line[0] + line[-1]) / 2)
    assert record.analysed["test_error"].value == pytest.approx((line[0] + line[-1]) / 2)
    assert record.analysed["distance"].value > 0
    assert np.array_equal(curves["place"], np.linspace(0, 1, 5))
    assert record.cost is not None
    assert record.cost.train_steps == 20  # the second copy's, and those up to the branch


def test_masked_copies_begin_where_the_method_rewinds_to(protocol: Protocol, measured: Store) -> None:
    networks = Store(measured.work / "networks")
    for name, method, steps in (("noise-imp", "imp", 20), ("noise-imp-6", "imp-rewind", 14)):
        record, curves = record_of(measured, protocol, Cell(name, 2, 0))
        assert record.cost is not None
        assert record.cost.train_steps == steps
        first = networks.read(protocol.examined, Cell(method, 2, 0))
        assert first is not None
        assert first.measured is not None
        assert curves["test_error"][0] == pytest.approx(100 - first.measured.last("test_accuracy"), abs=1e-4)


def test_what_cannot_be_measured_is_refused(tiny_protocol: Protocol) -> None:
    document = unstable(tiny_protocol)
    document["methods"]["noise-imp"]["parameters"] = {"step": 6}
    wrong = parse(document, "unstable.yaml")
    with pytest.raises(BadInput, match="imp does not rewind to it"):
        load_analysis(wrong.analyses["noise-imp"]).needs(wrong, Cell("noise-imp", 2, 0))
    late = AnalysisSpec(analysis="instability", parameters={"step": 20}, levels=(0,))
    with pytest.raises(BadInput, match="not before the last of 20"):
        load_analysis(late).needs(wrong, Cell("noise", 0, 0))
    with pytest.raises(BadInput, match="points 1"):
        load_analysis(AnalysisSpec(analysis="instability", parameters={"points": 1}, levels=(0,)))


def test_disagreement_of_known_classifiers() -> None:
    same, opposite, one_sided = classifier(2.0), classifier(-1.0), classifier(0.0)
    assert disagreement(classifier(1.0), same, line_data()) == 0.0
    assert disagreement(classifier(1.0), opposite, line_data()) == 100.0
    assert disagreement(classifier(1.0), one_sided, line_data()) == 50.0


def test_distance_over_the_way_travelled() -> None:
    """A right angle at the start: 5 apart, 3 and 4 from it; what the mask prunes does not count."""

    def at(x: float, y: float) -> nn.Module:
        module = nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            module.weight.copy_(torch.tensor([[x, y]]))
        return module

    start = {"weight": torch.tensor([[1.0, 1.0]])}
    assert distance(at(4, 1), at(1, 5), start, {}) == pytest.approx(5 / 3.5)
    masked = {"weight": torch.tensor([[True, False]])}
    assert distance(at(3, 0), at(0, 0), start, masked) == pytest.approx(3 / 1.5)


def test_the_frozen_protocols_name_steps_that_methods_rewind_to() -> None:
    for name in ("lmc/lenet-mnist", "lmc/resnet20-cifar10", "lmc/vgg16-cifar10"):
        protocol = load(name)
        for method, spec in protocol.analyses.items():
            analysis = load_analysis(spec)
            for level in spec.levels:
                assert len(analysis.needs(protocol, Cell(method, level, 0))) == 1
