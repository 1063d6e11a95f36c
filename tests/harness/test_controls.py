"""Controls of a mask: each changes what it says and nothing else; criteria see both weights; untrained networks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mask_protocol import method

from benchmark.api import Masks
from benchmark.harness.harness import Harness, Settings
from benchmark.harness.masks import Confinement
from benchmark.harness.start import Weights
from benchmark.planning.plan import jobs
from benchmark.protocols import Protocol, parse
from benchmark.protocols.cells import DENSE, Cell, method_words, train_steps
from benchmark.records.store import Store
from benchmark.utils.errors import BadInput

INITIAL = {"rounds": 1, "scores": "initial", "restart": 0}
ROUNDS = {**INITIAL, "rounds": 5}
TRAINED = {**INITIAL, "scores": "trained"}
AS_ITERATED = {**TRAINED, "layer_counts": "of-levels"}


def control(of: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"of": of, "control": kind, "draws": 1, "levels": [2], **more}


METHODS: dict[str, Any] = {
    "snip": method("snip", INITIAL, levels=[2]),
    "snip+shuffle": control("snip", "shuffle"),
    "snip+reinit": control("snip", "reinitialise", draws=2),
    "snip+invert": control("snip", "invert", inverted="every-round"),
    "synflow": method("synflow", ROUNDS, levels=[2]),
    "synflow+invert": control("synflow", "invert", inverted="every-round"),
    "force": method("force", {**ROUNDS, "pruned_weights": "may-return"}, levels=[2]),
    "force+invert": control("force", "invert", inverted="one-shot"),
    "erk": method("erk-random", INITIAL, allocation="by-pruner", levels=[2]),
    "movement": method(
        "mask-criterion", TRAINED, allocation="layerwise", levels=[2], parameters={"criterion": "movement"}
    ),
    "signed": method(
        "magnitude",
        {**AS_ITERATED, "training": "none", "values": "signed-constant"},
        allocation="layerwise",
        levels=[2],
    ),
    "untrained": method("magnitude", {**AS_ITERATED, "training": "none"}, allocation="layerwise", levels=[2]),
}


def with_methods(tiny: Protocol, **changes: Any) -> Protocol:
    document = copy.deepcopy(tiny.document)
    return parse({**document, "id": "tests/controls", "seeds": [0], "methods": {**METHODS, **changes}}, "controls.yaml")


@pytest.fixture(scope="module")
def protocol(tiny_protocol: Protocol) -> Protocol:
    return with_methods(tiny_protocol)


@pytest.fixture(scope="module")
def harness(protocol: Protocol, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """With the dense network trained."""
    harness = Harness(protocol, Store(tmp_path_factory.mktemp("controls")), Settings())
    for job in jobs(protocol, [DENSE], harness.store):
        assert harness.run(job)
    return harness


def mask(harness: Harness, name: str, draw: int = 0) -> Masks:
    return harness.masks.make(Cell(name, 2, 0, draw))[0]


def start(harness: Harness, name: str, draw: int = 0) -> torch.Tensor:
    return torch.cat([t.flatten() for t in harness.masks.start(Cell(name, 2, 0, draw))[0].values()])


def flat(masks: Masks) -> np.ndarray:
    return np.concatenate([m.numpy().ravel() for m in masks.values()])


def counts(masks: Masks) -> list[int]:
    return [int(m.sum()) for m in masks.values()]


def test_shuffle_moves_weights_within_layers_and_keeps_the_start(harness: Harness) -> None:
    plain, changed = mask(harness, "snip"), mask(harness, "snip+shuffle")
    assert counts(plain) == counts(changed)
    assert all(not torch.equal(plain[name], changed[name]) for name in plain)
    assert torch.equal(start(harness, "snip"), start(harness, "snip+shuffle"))


def test_reinit_draws_other_weights_for_each_draw_and_keeps_the_mask(harness: Harness) -> None:
    assert all((flat(mask(harness, "snip")) == flat(mask(harness, "snip+reinit", d))).all() for d in (0, 1))
    starts = [start(harness, "snip"), start(harness, "snip+reinit", 0), start(harness, "snip+reinit", 1)]
    assert not any(torch.equal(starts[a], starts[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("name", ["snip", "synflow", "force"])
def test_invert_keeps_as_many_other_weights_and_the_start(name: str, harness: Harness) -> None:
    plain, changed = (flat(mask(harness, n)) for n in (name, f"{name}+invert"))
    assert plain.sum() == changed.sum()
    assert (plain & changed).sum() < 0.5 * plain.sum()
    assert torch.equal(start(harness, name), start(harness, f"{name}+invert"))


def test_what_is_inverted(protocol: Protocol, harness: Harness, tiny_protocol: Protocol) -> None:
    """Of several rounds: those of every round, or the scores of the whole network at once."""
    lowest = {"keep": "lowest", "levels": [2]}
    other = with_methods(
        tiny_protocol,
        rounds=method("synflow", ROUNDS, **lowest),
        once=method("force", INITIAL, **lowest),
        **{"synflow+invert": control("synflow", "invert", inverted="one-shot")},
    )
    there = Harness(other, harness.store, Settings())
    assert (flat(mask(harness, "synflow+invert")) == flat(mask(there, "rounds"))).all()
    assert (flat(mask(harness, "force+invert")) == flat(mask(there, "once"))).all()
    assert (flat(mask(harness, "synflow+invert")) != flat(mask(there, "synflow+invert"))).any()
    assert "turned around in every round" in method_words(protocol, "synflow+invert")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"snip+invert": control("snip", "invert")}, "inverted goes with control: invert"),
        ({"snip+shuffle": control("snip", "shuffle", inverted="one-shot")}, "inverted goes with control: invert"),
        ({"snip+invert": control("snip", "invert", inverted="one-shot")}, "snip has one round"),
        ({"snip+invert": control("snip", "invert", inverted="every-round", draws=2)}, "nothing to draw"),
        ({"snip": method("snip", {**INITIAL, "pruned_weights": "may-return"}, levels=[2])}, "may-return needs"),
        ({"late": method("magnitude", {**TRAINED, "training": "none", "restart": 3}, levels=[2])}, "restart: 0"),
        ({"many": method("magnitude", {**ROUNDS, "layer_counts": "of-levels"}, levels=[2])}, "needs rounds: 1"),
        ({"wide": method("magnitude", AS_ITERATED, levels=[2])}, "needs allocation: layerwise"),
    ],
)  # fmt: skip
def test_controls_and_schedules_that_cannot_be(changes: dict[str, Any], says: str, tiny_protocol: Protocol) -> None:
    with pytest.raises(BadInput, match=says):
        with_methods(tiny_protocol, **changes)


def test_a_chain_is_not_inverted(tiny_protocol: Protocol) -> None:
    imp = {"imp": tiny_protocol.document["methods"]["imp"]}
    with pytest.raises(BadInput, match="follow from each other"):
        with_methods(tiny_protocol, **imp, **{"imp+invert": control("imp", "invert", inverted="every-round")})


def test_a_criterion_is_shown_initial_and_trained_weights(harness: Harness, protocol: Protocol) -> None:
    """The largest |trained - initial| of each layer by numpy, in this process and confined."""
    dense = Cell(DENSE, 0, 0)
    initial, cell = harness.masks.start(dense)[0], Cell("movement", 2, 0)
    trained = harness.masks.trained(Weights(dense))
    one_shot = protocol.level_table[2].one_shot_counts
    assert one_shot is not None
    confined = Harness(protocol, harness.store, Settings(confinement=Confinement(all=True)))
    for masks in (harness.masks.make(cell)[0], confined.masks.make(cell)[0]):
        for name, kept in masks.items():
            moved = (trained[name].double() - initial[name].double()).abs().numpy()
            count = one_shot[name.removesuffix(".weight")]
            assert kept.sum() == count
            assert moved[kept.numpy()].min() >= np.sort(moved.ravel())[-count]


def test_budgets_of_a_pruner_are_met_in_the_harness_and_confined(harness: Harness, protocol: Protocol) -> None:
    confined = Harness(protocol, harness.store, Settings(confinement=Confinement(all=True)))
    here, there = mask(harness, "erk"), mask(confined, "erk")
    assert (flat(here) == flat(there)).all()
    assert sum(counts(here)) == protocol.level_table[2].kept
    shares = [count / m.numel() for count, m in zip(counts(here), here.values(), strict=True)]
    assert shares[0] < shares[1] < shares[2]  # ERK: the smaller the layer, the denser


def test_a_network_left_untrained_is_evaluated_as_it_starts(harness: Harness, protocol: Protocol) -> None:
    cell = Cell("untrained", 2, 0)
    (job,) = (job for job in jobs(protocol, ["untrained"], harness.store) if cell in job.cells)
    assert harness.run(job)
    record = harness.store.read(protocol, cell)
    assert record is not None
    assert record.cost is not None
    assert record.measured is not None
    assert record.mask is not None
    assert (record.cost.train_steps, record.cost.mask_train_steps, train_steps(protocol, cell)) == (0, 20, 0)
    iterated = protocol.level_table[2].counts
    assert {name: layer.kept for name, layer in record.mask.layers.items()} == iterated  # not one_shot_counts
    assert iterated != protocol.level_table[2].one_shot_counts
    kept, state = mask(harness, "untrained"), harness.masks.start(cell)[0]
    data = harness.dataset
    h = data.test_inputs.flatten(1)
    for layer in (1, 2, 3):
        name = f"fc{layer}.weight"
        h = h @ (state[name] * kept[name]).T + state[f"fc{layer}.bias"]
        h = torch.relu(h) if layer < 3 else h
    expected = 100 * float((h.argmax(1) == data.test_labels).double().mean())
    assert record.measured.metrics["test_accuracy"].last == pytest.approx(expected)
    assert "not trained" in method_words(protocol, "untrained")


def test_signed_constants_keep_signs_and_one_size_in_each_tensor(harness: Harness) -> None:
    drawn, signed = (harness.masks.start(Cell(name, 2, 0))[0] for name in ("untrained", "signed"))
    for name, values in drawn.items():
        if name.endswith("weight"):
            assert signed[name].unique().tolist() == pytest.approx([-np.std(values.numpy()), np.std(values.numpy())])
            assert torch.equal(signed[name].sign(), values.sign())
        else:
            assert torch.equal(signed[name], values)
    assert (flat(mask(harness, "signed")) == flat(mask(harness, "untrained"))).all()  # scored as drawn and trained


def test_plans_count_what_is_left_untrained_as_no_updates(protocol: Protocol, tmp_path: Path) -> None:
    store = Store(tmp_path)
    planned = {job.method: job for job in jobs(protocol, [DENSE, "untrained", "movement"], store)}
    assert {name: [train_steps(protocol, cell) for cell in job.cells] for name, job in planned.items()} == {
        DENSE: [20], "untrained": [0], "movement": [20],
    }  # fmt: skip
