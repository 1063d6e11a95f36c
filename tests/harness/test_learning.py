"""Masks that are learned, through the harness: records and costs, trainings and controls that follow, failures."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from mask_protocol import method

from benchmark.harness.harness import Harness, Settings
from benchmark.harness.learned import LearnedMask, changed
from benchmark.planning.plan import jobs, plan
from benchmark.plugins.load import from_file, make_learner
from benchmark.plugins.registry import declared_needs, locate
from benchmark.protocols import Protocol, parse
from benchmark.protocols.cells import Cell, learning_steps, method_names, method_words, train_steps
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.sharing.integrity import contradictions
from benchmark.training.checkpoint import load_weights, save_weights
from benchmark.utils.errors import BadInput, BadPruner

INITIAL = {"rounds": 1, "scores": "initial", "restart": 0}
UNTRAINED = {**INITIAL, "training": "none"}
SCORES = {  # of another recipe than the weights', two epochs
    "optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.0, "batch_size": 31,
    "order": "shuffled-each-epoch", "last_partial_batch": "keep", "steps": 20, "precision": "fp32",
}  # fmt: skip


def control(of: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"of": of, "control": kind, "draws": 1, "levels": [2], **more}


METHODS: dict[str, Any] = {
    "popup": method("edge-popup", UNTRAINED, levels=[2], allocation="layerwise", learning={"steps": 16}),
    "popup+shuffle": control("popup", "shuffle"),
    "popup+invert": control("popup", "invert", inverted="every-round"),
    "gem": method("gem-miner", INITIAL, levels=[2], parameters={"period": 1}, learning={"recipe": SCORES}),
    "gem+shuffle": control("gem", "shuffle"),
    "gem+reinit": control("gem", "reinitialise"),
    "gem+invert": control("gem", "invert", inverted="every-round"),
}


def with_methods(tiny: Protocol, **changes: Any) -> Protocol:
    document = copy.deepcopy(tiny.document)
    methods = {**METHODS, **changes}
    return parse({**document, "id": "tests/learning", "seeds": [0], "methods": methods}, "learning.yaml")


@pytest.fixture(scope="module")
def protocol(tiny_protocol: Protocol) -> Protocol:
    return with_methods(tiny_protocol)


@pytest.fixture(scope="module")
def harness(protocol: Protocol, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """With every cell but the dense network's measured."""
    harness = Harness(protocol, Store(tmp_path_factory.mktemp("learning")), Settings())
    for job in jobs(protocol, [name for name in method_names(protocol) if name != "dense"], harness.store):
        assert harness.run(job)
    return harness


def record(harness: Harness, name: str) -> Record:
    found = harness.store.read(harness.protocol, Cell(name, 2, 0))
    assert found is not None
    assert found.status == "finished", found.reason
    return found


def learned(harness: Harness, name: str) -> LearnedMask:
    found = harness.masks.learned(Cell(name, 2, 0))
    assert found is not None
    return found


def test_an_untrained_networks_record_is_its_learning(harness: Harness) -> None:
    found = record(harness, "popup")
    cost, mask = found.cost, found.mask
    assert cost is not None
    assert mask is not None
    assert (cost.train_steps, cost.mask_train_steps, cost.mask_train_examples) == (0, 16, 2 * 310)
    assert cost.mask_train_seconds is not None
    assert cost.mask_train_cpu_seconds is not None
    counts = harness.protocol.level_table[2].one_shot_counts
    assert {layer: count.kept for layer, count in mask.layers.items()} == counts
    assert found.measured is not None
    assert found.measured.last_evaluation_step == 16
    assert found.method.pruner_digest == locate("edge-popup").digest
    assert not list(contradictions(harness.protocol, found))


def test_what_was_measured_are_initial_weights_under_the_mask(harness: Harness) -> None:
    """Computed again without the harness's networks: relu(relu(x W1) W2) W3, no bias moved from zero."""
    start = harness.masks.start(Cell("popup", 2, 0))[0]
    w1, w2, w3 = (start[name] * mask for name, mask in learned(harness, "popup").masks.items())
    x, labels = harness.dataset.test_inputs.flatten(1), harness.dataset.test_labels
    logits = torch.relu(torch.relu(x @ w1.T) @ w2.T) @ w3.T
    accuracy = 100 * float((logits.argmax(1) == labels).float().mean())
    found = record(harness, "popup").measured
    assert found is not None
    assert found.last("test_accuracy") == pytest.approx(accuracy)


def test_what_is_trained_afterwards_costs_both(harness: Harness) -> None:
    found = record(harness, "gem")
    cost = found.cost
    assert cost is not None
    assert (cost.train_steps, cost.train_examples) == (20, 2 * 310 + 4 * 40)
    assert (cost.mask_train_steps, cost.mask_train_examples) == (20, 2 * 310)
    assert found.hook_facts is not None
    assert 0 <= found.hook_facts["scores_above_half"] <= harness.protocol.level_table[2].kept
    assert not list(contradictions(harness.protocol, found))


def test_each_control_changes_what_it_says(harness: Harness) -> None:
    names = ("gem", "gem+shuffle", "gem+reinit", "gem+invert")
    facts = {name: record(harness, name).mask for name in names}
    assert all(mask is not None for mask in facts.values())
    digests = {name: mask.sha256 for name, mask in facts.items() if mask}
    counts = {name: mask.layers for name, mask in facts.items() if mask}
    assert digests["gem"] == digests["gem+reinit"]
    assert len(set(digests.values())) == 3
    assert counts["gem"] == counts["gem+shuffle"] == counts["gem+reinit"]
    starts = {name: harness.masks.start(Cell(name, 2, 0))[0]["fc1.weight"] for name in names}
    assert [torch.equal(starts["gem"], starts[name]) for name in names] == [True, True, False, True]
    costs = [record(harness, name).cost for name in names]
    assert {cost.mask_train_steps for cost in costs if cost} == {20}


@pytest.mark.parametrize("name", ["popup", "gem"])
def test_inverted_masks_hold_what_ranks_lowest(name: str, harness: Harness) -> None:
    """Of gem the weights that were frozen first: of the first freezing before any of the second."""
    found, (inverted, _) = learned(harness, name), harness.masks.make(Cell(f"{name}+invert", 2, 0))
    groups = [["fc1.weight", "fc2.weight", "fc3.weight"]] if name == "gem" else [[n] for n in found.masks]
    for names in groups:
        ranks = torch.cat([found.ranking[n].flatten() for n in names])
        kept = torch.cat([inverted[n].flatten() for n in names])
        assert int(kept.sum()) == sum(int(found.masks[n].sum()) for n in names)
        assert float(ranks[kept].max()) <= float(ranks[~kept].min())


def test_a_fresh_clone_learns_the_same_again(harness: Harness, protocol: Protocol, tmp_path: Path) -> None:
    """A control asks for its parent's mask, which is on no disk; the parent's record is not there and not made."""
    other = Harness(protocol, Store(tmp_path), Settings())
    (job,) = jobs(protocol, ["gem+shuffle"], other.store)
    assert other.run(job)
    assert other.store.read(protocol, Cell("gem", 2, 0)) is None
    assert record(other, "gem+shuffle").fingerprint() == record(harness, "gem+shuffle").fingerprint()
    assert all(torch.equal(m, learned(harness, "gem").masks[n]) for n, m in learned(other, "gem").masks.items())


def test_what_other_code_has_learned_is_not_taken(harness: Harness, tmp_path: Path) -> None:
    path, found = tmp_path / "learned", learned(harness, "gem")
    found.save(path, tmp_path, "this code")
    again = LearnedMask.load(path, list(found.masks), "this code")
    assert again is not None
    assert (again.cost, again.facts, list(again.masks)) == (found.cost, found.facts, list(found.masks))
    assert LearnedMask.load(path, list(found.masks), "other code") is None
    path.write_bytes(path.read_bytes()[:-9])
    assert LearnedMask.load(path, list(found.masks), "this code") is None


def test_what_an_older_version_has_learned_is_learned_again(harness: Harness, tmp_path: Path) -> None:
    """It did not write down what the core gave."""
    found, path = learned(harness, "popup"), tmp_path / "learned"
    found.save(path, tmp_path, "this code")
    state = load_weights(path)
    assert state is not None
    save_weights(path, {**state, "cost": state["cost"][:3]}, tmp_path)
    assert LearnedMask.load(path, list(found.masks), "this code") is None


def test_a_control_waits_for_who_learns_its_mask(protocol: Protocol, tmp_path: Path) -> None:
    harness = Harness(protocol, Store(tmp_path), Settings())
    (parent,), (job,) = (jobs(protocol, [name], harness.store) for name in ("popup", "popup+shuffle"))
    with harness.store.lock(protocol, parent.name, wait=True):
        assert not harness.run(job)
    assert harness.run(job)


def test_a_learning_that_diverges_fails_its_cells(tiny_protocol: Protocol, tmp_path: Path) -> None:
    wild = {**SCORES, "learning_rate": 1e30}
    lost = {
        "popup": method("edge-popup", UNTRAINED, levels=[2], parameters={"penalty": 1.0}, learning={"recipe": wild}),
        "popup+shuffle": control("popup", "shuffle"),
        "gem": method("edge-popup", INITIAL, levels=[2], parameters={"penalty": 1.0}, learning={"recipe": wild}),
        "gem+reinit": control("gem", "reinitialise"),
    }
    protocol = parse(
        {**copy.deepcopy(tiny_protocol.document), "id": "tests/lost", "seeds": [0], "methods": lost}, "lost.yaml"
    )
    harness = Harness(protocol, Store(tmp_path), Settings())
    for name in lost:
        for job in jobs(protocol, [name], harness.store):
            assert harness.run(job)
        found = harness.store.read(protocol, Cell(name, 2, 0))
        assert found is not None
        assert found.status == "failed"
        assert "diverged" in (found.reason or "") or "failed" in (found.reason or "")


def test_changed_weights_are_seen_to_the_bit() -> None:
    start, masks = {"w": torch.tensor([1.0, -2.0]), "b": torch.tensor([0.5])}, {"w": torch.tensor([True, False])}
    kept = {"w": torch.tensor([1.0, -0.0]), "b": torch.tensor([0.5])}
    assert changed(["w", "b"], start, masks, kept) is None
    assert changed(["w", "b"], start, masks, {**kept, "w": torch.tensor([1.0, 0.0])}) == "w"
    assert changed(["w", "b"], start, masks, {**kept, "b": torch.nextafter(kept["b"], torch.ones(1))}) == "b"


def test_plans_and_words_count_both_trainings(protocol: Protocol) -> None:
    assert (learning_steps(protocol, Cell("gem", 2, 0)), train_steps(protocol, Cell("gem", 2, 0))) == (20, 20)
    assert (learning_steps(protocol, Cell("popup", 2, 0)), train_steps(protocol, Cell("popup", 2, 0))) == (16, 0)
    assert "a mask learned by 'gem-miner' (period = 1) in 20 updates of its scores" in method_words(protocol, "gem")
    planned = {each.job.method: each.seconds for each in plan([(protocol, n) for n in METHODS], Store(Path("nowhere")))}
    assert planned["gem"] == pytest.approx(2 * planned["gem+reinit"])
    assert planned["popup+shuffle"] == 0.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"gem": method("gem-miner", {**INITIAL, "rounds": 5}, levels=[2], learning={})}, "learned at initialization"),
        ({"gem": method("gem-miner", INITIAL, levels=[2], keep="lowest", learning={})}, "learned at initialization"),
        ({"gem": method("gem-miner", INITIAL, levels=[2], learning={"steps": 0})}, "greater than 0"),
    ],
)
def test_impossible_learnings_are_refused(tiny_protocol: Protocol, changes: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        with_methods(tiny_protocol, **changes)


def test_whose_learners_run(tmp_path: Path) -> None:
    """A pruner is none; a third party's is read in its own process alone (tests/harness/test_confined_training.py)."""
    assert declared_needs("edge-popup") == declared_needs("gem-miner") == "training set"
    with pytest.raises(BadInput, match="is no learner"):
        make_learner(locate("snip"), {})
    path = tmp_path / "theirs.py"
    path.write_text(
        "from benchmark.api import Learner\n"
        "class Theirs(Learner):\n"
        "    def first_scores(self, weight, rng): return weight\n"
        "    def mask(self, scores, left): return scores\n"
    )
    with pytest.raises(BadPruner, match="is a learner, not a pruner"):
        from_file(path)
    assert from_file(path, "learner").kind.__name__ == "Theirs"
    with pytest.raises(BadPruner, match="is a learner, not a hook"):
        from_file(path, "hook")
