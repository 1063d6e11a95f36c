"""Tickets that start near their own weights, from others of their distribution, or anew under masks found by training
on."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transfer_protocols import source_document, taking, target_document, written

from benchmark.harness.harness import Harness, Settings
from benchmark.harness.start import Start, initial_weights, start_of
from benchmark.harness.transferred import disturbed, resampled
from benchmark.planning.plan import Job
from benchmark.protocols import Protocol, load, load_file, parse
from benchmark.protocols.cells import Cell, method_words, train_steps
from benchmark.records.store import Store
from benchmark.utils.errors import BadInput
from benchmark.utils.seeding import stream


def test_noise_is_in_deviations_of_the_rule_that_drew_the_weights() -> None:
    """LeNet's Glorot deviations are sqrt(2 / (784 + 300)), ...; half the noise moves weights half as far."""
    lenet = load("lth/lenet-mnist")
    first = initial_weights(lenet, 3)
    once, half = (disturbed(lenet, first, amount, stream(3, "noise", 7)) for amount in (1.0, 0.5))
    for name, fans in {"fc1.weight": 1084, "fc2.weight": 400, "fc3.weight": 110}.items():
        moved = (once[name] - first[name]).double()
        assert moved.std().item() == pytest.approx((2 / fans) ** 0.5, rel=4 / moved.numel() ** 0.5)
        assert abs(moved.mean().item()) < 4 * (2 / fans / moved.numel()) ** 0.5
        assert torch.allclose(2 * (half[name] - first[name]), once[name] - first[name], atol=1e-6)
        correlation = torch.corrcoef(torch.stack([moved.flatten(), first[name].double().flatten()]))[0, 1]
        assert abs(correlation.item()) < 4 / moved.numel() ** 0.5
    assert torch.equal(once["fc1.bias"], first["fc1.bias"])


def test_resampled_values_are_those_that_the_mask_leaves() -> None:
    weights = {"w": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "b": torch.tensor([5.0]), "gone": torch.tensor([6.0, 7.0])}
    masks = {"w": torch.tensor([[True, False], [False, True]]), "gone": torch.tensor([False, False])}
    counts = {1.0: 0, 4.0: 0}
    for seed in range(200):
        drawn = resampled(weights, masks, stream(seed, "resampled", 1))
        for value in drawn["w"].flatten().tolist():
            counts[value] += 1
        assert torch.equal(drawn["b"], weights["b"])
        assert torch.equal(drawn["gone"], weights["gone"])
    assert counts[1.0] == pytest.approx(400, abs=4 * (800 * 0.25) ** 0.5)
    assert torch.equal(weights["w"], torch.tensor([[1.0, 2.0], [3.0, 4.0]]))


def normal_source(**changes: Any) -> dict[str, Any]:
    document = source_document(**changes)
    document["network"] = document["network"] | {"initialiser": "glorot-normal"}
    return document


def test_cells_start_so_and_are_recorded(tmp_path: Path) -> None:
    methods = {"ticket": taking("theta0"), "noise-3": taking("theta0", noise=3.0), "resampled": taking("resampled")}
    protocol = load_file(written(tmp_path, normal_source(), target_document(methods=methods)))
    store = Store(tmp_path / "results")
    harness = Harness(protocol, store, Settings())
    cells = {name: Cell(name, 2, 0) for name in methods}
    assert harness.run(Job(protocol, tuple(cells.values())))
    (source,) = protocol.mask_sources.values()
    first, masks = initial_weights(source, 0), harness.masks.make(cells["ticket"])[0]
    starts = {name: harness.masks.start(cell)[0] for name, cell in cells.items()}
    rng = stream(0, "noise", 2)
    assert torch.equal(starts["noise-3"]["fc1.weight"], disturbed(source, first, 3.0, rng)["fc1.weight"])
    left = set(first["fc1.weight"][masks["fc1.weight"]].tolist())
    assert set(starts["resampled"]["fc1.weight"].flatten().tolist()) <= left
    for name, cell in cells.items():
        record = store.read(protocol, cell)
        assert record is not None
        assert record.status == "finished"
        assert record.source is not None
        assert record.source.reset == {"resampled": "resampled"}.get(name, "theta0")
    assert "the initial weights there with noise of 3 deviations" in method_words(protocol, "noise-3")


@pytest.mark.parametrize(
    ("source", "method", "says"),
    [
        (
            source_document(),
            taking("random", noise=1.0),
            "noise is added to initial weights: reset: theta0",
        ),
        (source_document(), taking("theta0", noise=1.0), "noise is in deviations of normal weights"),
    ],
)
def test_noise_needs_normal_initial_weights(
    tmp_path: Path, source: dict[str, Any], method: dict[str, Any], says: str
) -> None:
    source["network"] = source["network"] | {"initialiser": "glorot-uniform"}
    with pytest.raises(BadInput, match=says):
        load_file(written(tmp_path, source, target_document(methods={"m": method})))


CONTINUED = {"rounds": "levels", "scores": "trained", "restart": "trained"}


def with_reset(protocol: Protocol, schedule: dict[str, Any], **control: Any) -> Protocol:
    """The protocol with a chain of this schedule and its control."""
    document = copy.deepcopy(protocol.document)
    chain = {"pruner": "magnitude", "allocation": "layerwise", "schedule": schedule, "levels": [1, 2]}
    reset = {"of": "continued", "control": "reset", "draws": 1, "levels": [2], **control}
    document["methods"] = {"continued": chain, "continued+reset": reset}
    return parse(document, "tiny")


def test_reset_puts_back_the_initial_weights_under_the_mask(tiny_protocol: Protocol, tmp_path: Path) -> None:
    protocol, store = with_reset(tiny_protocol, CONTINUED), Store(tmp_path)
    parent, cell = Cell("continued", 2, 0), Cell("continued+reset", 2, 0)
    assert start_of(protocol, cell) == Start()
    assert start_of(protocol, parent).first_step == protocol.recipe.steps
    assert train_steps(protocol, cell) == protocol.recipe.steps
    harness = Harness(protocol, store, Settings())
    assert harness.run(Job(protocol, (Cell("dense", 0, 0),)))
    assert harness.run(Job(protocol, (Cell("continued", 1, 0), parent)))
    assert harness.run(Job(protocol, (cell,)))
    records = [store.read(protocol, each) for each in (parent, cell)]
    masks = [record.mask for record in records if record is not None]
    assert len(masks) == 2
    assert masks[0] is not None
    assert masks[1] is not None
    assert masks[0].sha256 == masks[1].sha256
    start, step = harness.masks.start(cell)
    assert step == 0
    assert all(torch.equal(start[name], tensor) for name, tensor in initial_weights(protocol, 0).items())
    assert method_words(protocol, "continued+reset") == "the masks of continued, final training from step 0"


@pytest.mark.parametrize(
    ("schedule", "control", "says"),
    [
        (CONTINUED | {"restart": 0}, {}, "starts every round anew"),
        (CONTINUED, {"draws": 2}, "one draw of initial weights"),
        (CONTINUED, {"of": "other"}, "'other' is not a pruning method"),
    ],
)
def test_reset_has_to_have_something_to_reset(
    tiny_protocol: Protocol, schedule: dict[str, Any], control: dict[str, Any], says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        with_reset(tiny_protocol, schedule, **control)
