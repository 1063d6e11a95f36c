"""The taxonomy against what methods do: data that raises, masks at both ends of a training, starts bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from benchmark import protocols
from benchmark.claims.observations import Observations
from benchmark.datasets.dataset import Dataset
from benchmark.harness.harness import Harness, Prepared, Settings
from benchmark.harness.masks import MaskMaker
from benchmark.harness.start import Weights, initial_weights, weights_missing
from benchmark.planning.plan import plan
from benchmark.plugins.registry import locate, names, reads_data
from benchmark.protocols import Protocol, parse
from benchmark.protocols.cells import Cell
from benchmark.pruning.masks import full_masks
from benchmark.records.schema import CostFacts
from benchmark.records.store import Store
from benchmark.report.taxonomy import (
    COST_GROUPS,
    THETA0,
    Taxonomy,
    examples_scored,
    is_control,
    ranked_methods,
    taxonomy,
)
from benchmark.training.replicas import Outcome
from benchmark.utils import strict_yaml
from benchmark.utils.errors import NeedFailed

LEARNERS = ("edge-popup", "edge-popup-annealed", "gem-miner", "oes")
INITIAL = {"rounds": 1, "scores": "initial", "restart": 0}
TRAINED = {"rounds": 1, "scores": "trained", "restart": 0}
HOOKS: dict[str, dict[str, Any]] = {
    "set": {"name": "set", "parameters": {"every": 3, "until": 15, "share": 0.5}},
    "set-by-sign": {"name": "set-by-sign", "parameters": {"after": 1}},
    "rigl": {"name": "rigl", "parameters": {"every": "epoch", "until": 15}},
    "gradual-magnitude": {
        "name": "gradual-magnitude", "parameters": {"begin": 2, "end": 12, "every": 5}, "starts": "dense"
    },
    "neq": {"name": "neq", "parameters": {"every": 5, "layers": "all", "similarity": "set"}},
    "dst": {"name": "dst", "parameters": {"alpha": 0.05}, "starts": "dense"},
    "tost": {"name": "tost", "parameters": {"activation": "gelu", "skip": 1.0, "every": 5}},
}  # fmt: skip


def method(pruner: str, schedule: dict[str, Any], **more: Any) -> dict[str, Any]:
    allocation = "by-pruner" if pruner in ("erk-random", "smart-ratio") else "layerwise"
    return {"pruner": pruner, "allocation": allocation, "schedule": schedule, "levels": [3], **more}


@pytest.fixture(scope="module")
def protocol(tiny_path: Path) -> Protocol:
    """The tiny protocol with every pruner and hook of this repository, and every way to start."""
    document = strict_yaml.load_file(tiny_path)
    methods = document["methods"]
    methods["imp"] |= {"levels": [1, 2], "later": []}
    methods["imp+reinit"] |= {"draws": 1, "levels": [2]}
    methods["imp+shuffle"]["levels"] = methods["one-shot"]["levels"] = [2]
    document["evaluation"]["every"] = 10
    for pruner in names():
        if pruner not in methods and pruner != "mask-criterion":
            methods[pruner] = method(pruner, INITIAL, **({"learning": {}} if pruner in LEARNERS else {}))
    criterion = {"parameters": {"criterion": "magnitude_increase"}}
    methods["signs"] = method(
        "mask-criterion", TRAINED | {"training": "none", "values": "signed-constant"}, **criterion
    )
    methods["criterion"] = method("mask-criterion", TRAINED | {"training": "none"}, **criterion)
    methods["lr-rewind"] = method("magnitude", TRAINED | {"restart": 6, "weights": "kept"})
    methods["snip+invert"] = {"of": "snip", "control": "invert", "inverted": "every-round", "draws": 1, "levels": [3]}
    for name, hook in HOOKS.items():
        methods[name] = method("random", INITIAL, hook=hook)
    document["seeds"], document["sources"] = [0], {}
    return parse(document, "tiny")


@dataclass
class Trained:
    """What a cell was trained from, and what came out."""

    before: Prepared
    after: Outcome


class Watched(Harness):
    """Remembers every training."""

    def __init__(self, protocol: Protocol, store: Store) -> None:
        super().__init__(protocol, store, Settings())
        self.trained: dict[Cell, Trained] = {}

    def train(self, ready: Sequence[Prepared]) -> list[Outcome]:
        outcomes = super().train(ready)
        self.trained.update({b.cell: Trained(b, a) for b, a in zip(ready, outcomes, strict=True)})
        return outcomes


@pytest.fixture(scope="module")
def harness(protocol: Protocol, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """Every method run, at the level that the tests look at and those that lead to it."""
    store = Store(tmp_path_factory.mktemp("taxonomy"))
    made = Watched(protocol, store)
    for planned in plan([(protocol, name) for name in protocol.methods], store):
        assert made.run(planned.job)
    return made


def kinds(protocol: Protocol) -> dict[str, Taxonomy]:
    seen = Observations(protocol, [])
    return {name: taxonomy(seen, name) for name in protocol.methods}


def cell_of(protocol: Protocol, name: str) -> Cell:
    """The sparsest cell of a method."""
    return Cell(name, max(protocol.measured_levels(name)), 0)


class Touched(Exception):
    """The data was asked for."""


class Shapes:
    """A data set of which nothing but shapes can be read."""

    def __init__(self, protocol: Protocol) -> None:
        self.input_shape, self.classes = protocol.network.input_shape, protocol.network.outputs

    def __getattr__(self, name: str) -> Any:
        raise Touched(name)


def test_every_answer_is_given_by_some_method(protocol: Protocol) -> None:
    found = kinds(protocol).values()
    assert {kind.decided for kind in found} == {
        "before training", "after a training", "over several trainings", "during training"
    }  # fmt: skip
    assert {kind.data for kind in found} == {"no data", "few examples", "training set"}
    assert {kind.mask for kind in found} == {
        "static", "moves", "only shrinks", "moves, count learned"
    }  # fmt: skip
    assert {kind.cost_group for kind in found} == set(COST_GROUPS)


def test_when_and_from_what_data_a_mask_is_decided(protocol: Protocol, tmp_path: Path) -> None:
    """On an empty disk, with data that raises when it is touched: nothing was trained, so masks that need that fail."""
    shapes = cast(Dataset, Shapes(protocol))
    maker = MaskMaker(protocol, Store(tmp_path), lambda: shapes, cache(locate))
    for name, kind in kinds(protocol).items():
        cell = cell_of(protocol, name)
        networks = weights_missing(protocol, cell, lambda _: False, 0)
        if kind.decided in ("after a training", "over several trainings"):
            with pytest.raises(NeedFailed):
                maker.make(cell)
            assert (len(networks) > 1) == (kind.decided == "over several trainings"), name
        elif name in LEARNERS:  # scores are trained on it, before the network is
            with pytest.raises(NeedFailed, match="has no learned mask"):
                maker.make(cell)
        elif kind.data == "few examples":
            with pytest.raises(Touched):
                maker.make(cell)
        else:
            assert sum(int(mask.sum()) for mask in maker.make(cell)[0].values()) > 0
        if kind.decided in ("before training", "during training"):
            assert not networks, name


def test_the_mask_stays_moves_or_shrinks(protocol: Protocol, harness: Watched) -> None:
    """As it is at both ends of the training; and what is masked at the end is zero."""
    full = full_masks(protocol.pruning.prunable)
    for name, kind in kinds(protocol).items():
        trained = harness.trained[cell_of(protocol, name)]
        before = trained.before.masks
        after = trained.after.masks or before  # none where nothing could move them: then the weights must say so
        assert all(not trained.after.weights[layer][~mask].any() for layer, mask in after.items()), name
        same = all(torch.equal(before[layer], after[layer]) for layer in before)
        assert same == (kind.mask == "static"), name
        if kind.mask == "only shrinks":
            assert all(torch.equal(before[layer], full[layer]) for layer in before)
            assert sum(int(mask.sum()) for mask in after.values()) < sum(mask.numel() for mask in after.values())
        if kind.mask == "moves, count learned":
            kept, asked = sum(int(mask.sum()) for mask in after.values()), protocol.level_table[3].kept
            assert 0 < kept < sum(mask.numel() for mask in after.values()), name
            assert kept != asked, name
        if kind.mask == "moves":
            assert {n: int(m.sum()) for n, m in before.items()} == {n: int(m.sum()) for n, m in after.items()}


def test_what_the_final_training_starts_from(protocol: Protocol, harness: Watched) -> None:
    """Bit for bit: the initial weights of the seed, those of the dense network at a step, or others."""
    initial = initial_weights(protocol, 0)
    dense = Cell("dense", 0, 0)
    for name, kind in kinds(protocol).items():
        before = harness.trained[cell_of(protocol, name)].before
        start, steps = before.replica.start, before.steps
        same = all(torch.equal(initial[tensor], start[tensor]) for tensor in initial)
        assert same == kind.weights.removesuffix(", not trained").endswith(THETA0) or kind.weights.startswith("signs")
        assert (steps == 0) == kind.weights.endswith("not trained"), name
        if kind.weights == "step 6":
            at = harness.masks.trained(Weights(dense, "step-6"))
            assert all(torch.equal(at[tensor], start[tensor]) for tensor in at)
        elif kind.weights.startswith("trained"):
            at = harness.masks.trained(Weights(dense))
            assert all(torch.equal(at[tensor], start[tensor]) for tensor in at)
        elif kind.weights.startswith("signs"):
            for tensor in protocol.pruning.prunable:
                assert torch.equal(start[tensor].sign(), initial[tensor].sign())
                assert len(start[tensor].abs().unique()) == 1
        else:
            assert same or kind.weights == "another draw", name
    assert kinds(protocol)["imp+reinit"].weights == "another draw"


def test_a_hook_that_looks_at_examples_needs_data(protocol: Protocol) -> None:
    """As hooks are at work in a training: those that ask for a batch or for held-out images, and those that do not."""
    assert {hook: reads_data(hook) for hook in HOOKS} == {
        "set": False, "set-by-sign": False, "rigl": True, "gradual-magnitude": False, "neq": True, "tost": True,
        "dst": False,
    }  # fmt: skip
    assert reads_data("of nobody")
    assert (kinds(protocol)["neq"].data, kinds(protocol)["neq"].cost_group) == ("training set", "whole training set")


def test_controls_are_ranked_in_no_group(protocol: Protocol) -> None:
    seen = Observations(protocol, [])
    ranked = [name for group in COST_GROUPS for name in ranked_methods(seen, group)]
    assert sorted(ranked) == sorted(name for name in protocol.methods if "+" not in name)
    inverted = protocols.load("missingmark/resnet20-cifar10")
    assert [name for name in inverted.methods if is_control(inverted, name)] == [
        name for name in inverted.methods if "+" in name or name.endswith("-inverted")
    ]


def test_a_pruner_of_which_nothing_is_declared_is_not_called_free_of_data(protocol: Protocol) -> None:
    spec = protocol.pruning_method("random").model_copy(update={"pruner": "of nobody"})
    unknown = protocol.model_copy(update={"methods": {"mine": spec}})
    kind = taxonomy(Observations(unknown, []), "mine")
    assert (kind.data, kind.cost_group) == ("not declared", "whole training set")


def test_a_method_without_data_scored_no_examples() -> None:
    """SynFlow's hundred passes of ones are recorded as a hundred examples; SNIP's examples are examples."""
    cost = CostFacts(
        train_steps=1, train_examples=1, train_seconds=1.0, train_cpu_seconds=1.0, mask_train_steps=0,
        prune_seconds=1.0, prune_forward_passes=100, prune_backward_passes=100, prune_examples=100,
    )  # fmt: skip
    seen = Observations(protocols.load("suite/mlp-mnist1d"), [])
    scored = {method: examples_scored(taxonomy(seen, method), cost) for method in ("synflow", "snip")}
    assert scored == {"synflow": 0, "snip": 100}
    assert examples_scored(None, cost) == 100
