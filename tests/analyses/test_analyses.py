"""Analyses: found by name without torch, and linear mode connectivity where its value is known."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from line_networks import classifier, line_data
from made_once import run_all
from torch import nn
from toy_analysis import analysing

from benchmark.analyses import load_analysis
from benchmark.analyses.line import barrier, networks_between, shares
from benchmark.analyses.mode_connectivity import ModeConnectivity
from benchmark.datasets.dataset import Dataset
from benchmark.protocols import Protocol, load, parse
from benchmark.protocols.analysis import AnalysisSpec
from benchmark.protocols.cells import DENSE, Cell
from benchmark.records.store import Store
from benchmark.tasks import load_task
from benchmark.utils.errors import BadInput
from benchmark.utils.npz import unpack_bytes

CLASSIFICATION = load_task("classification")


def heights_between(one: nn.Module, other: nn.Module, data: Dataset, parts: int = 10) -> dict[str, float]:
    return ModeConnectivity(parts).between(one, other, data, CLASSIFICATION)[0]


def test_names_need_no_torch() -> None:
    text = (
        "import sys; from benchmark.protocols.analysis import ANALYSES as a; print(*a.names());"
        "assert 'torch' not in sys.modules"
    )
    names = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout.split()
    assert {"mode-connectivity"} <= set(names)
    for name in names:
        kind = type(load_analysis(AnalysisSpec(analysis=name, levels=(1,))))
        assert kind.paper, name
        assert kind.units, name
    with pytest.raises(BadInput, match="Did you mean 'mode-connectivity'"):
        load_analysis(AnalysisSpec(analysis="mode_connectivity", levels=(1,)))


@pytest.mark.parametrize(
    ("first", "last", "accuracy"),
    [
        (1.0, 3.0, 0.0),  # right along the whole line
        (1.0, 1.0, 0.0),
        (1.0, -1.0, 50.0),  # the worst point is the wrong end, 50 below the mean of both
    ],
)
def test_barrier_of_known_height(first: float, last: float, accuracy: float) -> None:
    heights = heights_between(classifier(first), classifier(last), line_data())
    assert heights["accuracy_barrier"] == pytest.approx(accuracy)
    assert heights["loss_barrier"] >= -1e-6


def test_a_barrier_between_two_equally_good_networks() -> None:
    """Two hidden units that are swapped compute the same; half way both are the mean, and class 1 is lost."""

    def swapped(order: list[int]) -> nn.Module:
        module = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
        with torch.no_grad():
            module[0].weight.copy_(torch.tensor([[1.0], [-1.0]])[order])
            module[2].weight.copy_(torch.tensor([[-1.0, 1.0], [1.0, -1.0]])[:, order])
        return module

    one, other = swapped([0, 1]), swapped([1, 0])
    before = {name: value.clone() for name, value in one.state_dict().items()}
    heights = heights_between(one, other, line_data(), parts=4)
    assert heights["accuracy_barrier"] == pytest.approx(50.0)  # all logits are 0: class 0 for every point
    assert heights["loss_barrier"] > 0.4  # log 2 in the middle, 0.05 at the ends
    assert all(torch.equal(before[name], value) for name, value in one.state_dict().items())


def test_a_prepared_input_is_what_networks_read() -> None:
    """The data set's own preparation is applied, as in training."""
    turned = replace(line_data(), prepare=lambda inputs: -inputs)
    heights, curves = ModeConnectivity().between(classifier(-1.0), classifier(-1.0), turned, CLASSIFICATION)
    assert heights == {"loss_barrier": pytest.approx(0), "accuracy_barrier": pytest.approx(0)}
    assert curves["test_accuracy"].tolist() == [100.0] * 11


def test_places_of_a_line() -> None:
    """Weights and real buffers move in equal steps; what counts batches stays; the ends are the networks' own."""
    first, last = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    with torch.no_grad():
        last.weight.fill_(5.0)
        last.running_mean.fill_(3.0)
    last.num_batches_tracked.fill_(7)
    seen = [(m.weight.item(), m.running_mean.item(), m.num_batches_tracked.item())
            for m in networks_between(first, last, shares(5).tolist())]  # fmt: skip
    assert seen == [(1.0, 0.0, 0), (2.0, 0.75, 0), (3.0, 1.5, 0), (4.0, 2.25, 0), (5.0, 3.0, 0)]
    assert (first.weight.item(), last.weight.item()) == (1.0, 5.0)
    assert barrier(torch.tensor([1.0, 5.0, 2.0]).numpy()) == 3.5
    assert barrier(torch.tensor([90.0, 40.0, 80.0]).numpy(), "higher") == 45.0


def test_it_needs_successive_levels_of_a_chain_without_batch_norm(tiny_protocol: Protocol) -> None:
    protocol = parse(connected(tiny_protocol, levels=[1, 3]), "lines.yaml")
    needs = ModeConnectivity().needs
    assert needs(protocol, Cell("lines", 1, 0)) == (Cell(DENSE, 0, 0), Cell("imp", 1, 0))
    assert needs(protocol, Cell("lines", 3, 1)) == (Cell("imp", 2, 1), Cell("imp", 3, 1))
    with pytest.raises(BadInput, match="compares levels of an iterative chain"):
        needs(parse(connected(tiny_protocol, of="random", levels=[3]), "lines.yaml"), Cell("lines", 3, 0))
    with_norm = load("lth/resnet18-low-cifar10")
    spec = AnalysisSpec(analysis="mode-connectivity", of="imp", levels=(1,))
    other = with_norm.model_copy(update={"measures": "analysis", "methods": {**with_norm.methods, "lines": spec}})
    with pytest.raises(BadInput, match="batch norm"):
        needs(other, Cell("lines", 1, 0))


def test_levels_of_a_chain_end_to_end(tiny_protocol: Protocol, tmp_path: Path) -> None:
    """Records hold the barriers of the curves beside them, whose ends are the accuracies of the chain's networks."""
    protocol = parse(connected(tiny_protocol, levels=[1, 2], seeds=[0]), "lines.yaml")
    run_all(protocol, tmp_path)
    store, networks = Store(tmp_path), Store(tmp_path / ".work" / "networks")
    ends = {0: networks.read(protocol.examined, Cell(DENSE, 0, 0))}
    ends |= {level: networks.read(protocol.examined, Cell("imp", level, 0)) for level in (1, 2)}
    for level in (1, 2):
        record = store.read(protocol, Cell("lines", level, 0))
        assert record is not None
        assert record.analysed is not None
        curves = unpack_bytes(store.curves_path(protocol, Cell("lines", level, 0)).read_bytes(), 10**6)
        line = curves["test_accuracy"]
        for place, network in ((0, ends[level - 1]), (-1, ends[level])):
            assert network is not None
            assert network.measured is not None
            assert line[place] == pytest.approx(network.measured.last("test_accuracy"), abs=1e-4)
        mean = (line[0] + line[-1]) / 2
        assert record.analysed["accuracy_barrier"].value == pytest.approx(mean - line.min(), abs=1e-9)


def connected(tiny: Protocol, of: str = "imp", **fields: Any) -> dict[str, Any]:
    document = analysing(tiny)
    lines = {"analysis": "mode-connectivity", "of": of, "levels": fields.pop("levels")}
    document["methods"] = {**tiny.document["methods"], "lines": lines}
    document["statistics"]["margins"]["analysed"] = {"accuracy_barrier": 0.5}
    return {**document, "id": "tests/lines", **fields}
