"""Replicas side by side, on a CPU: the same tables, updates and evaluations that CUDA graphs replay.

Stacked sums in another order, so it agrees to rounding; on streams of their own networks stay themselves to the bit.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from replica_groups import NETWORKS, Killed, augmented, close, recipe_of, replicas_of, resumable, went

from benchmark.networks import make
from benchmark.protocols import Protocol
from benchmark.protocols.network import FAMILIES
from benchmark.protocols.recipe import EvaluationSpec
from benchmark.training.checkpoint import load_weights, save_weights
from benchmark.training.loop import Placement, train
from benchmark.training.replicas import GROUPS, Outcome, TrainingSetup, strategy_for
from benchmark.utils.errors import EnvironmentProblem


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("strategy", ["stacked", "streams"])
def test_neighbours_change_no_replica(tiny_protocol: Protocol, name: str, strategy: Any) -> None:
    """Three at once against one after another: weights, running statistics, snapshots, histories, dropout, crops.

    70 rows in batches of 16: a partial batch ends each epoch, and 8 updates are one epoch and three fifths.
    """
    recipe, replicas = recipe_of(tiny_protocol), replicas_of(name, 3, snapshots=(0, 5))
    alone = went(name, replicas, recipe, tiny_protocol, None)
    together = went(name, replicas, recipe, tiny_protocol, Placement("cpu", strategy))
    for single, shared, replica in zip(alone, together, replicas, strict=True):
        assert shared.replica_group == f"3 side by side, {strategy}"
        assert single.replica_group is None
        assert (single.steps, single.examples) == (shared.steps, shared.examples) == (8, 70 + 3 * 16)
        assert close(single.weights, shared.weights)
        assert close(single.snapshots[5], shared.snapshots[5])
        assert not any(shared.weights[n][~mask].any() for n, mask in replica.masks.items())
        one, other = single.history, shared.history
        assert (one.steps, one.test_steps[-1], set(other.test_steps) >= {0, 4, 8}) == (other.steps, 8, True)
        for before, after in zip(one.validation, other.validation, strict=True):
            assert before.loss == pytest.approx(after.loss, rel=1e-4)
        assert single.train is not None
        assert shared.train is not None
        assert single.train.loss == pytest.approx(shared.train.loss, rel=1e-4)
        if strategy == "streams":  # nothing is added in another order
            assert all(torch.equal(single.weights[n], shared.weights[n]) for n in single.weights)
            assert one == other
    assert not close(together[0].weights, together[2].weights)


def test_replicas_of_other_spans_are_other_groups(tiny_protocol: Protocol) -> None:
    """A rewound replica that starts later cannot share updates; outcomes come back in the order given."""
    first, second, third = replicas_of("conv-2", 3)
    replicas = [first, replace(second, first_step=3), third]
    recipe = recipe_of(tiny_protocol)
    together = went("conv-2", replicas, recipe, tiny_protocol, Placement("cpu", "stacked"))
    assert [outcome.replica_group for outcome in together] == [f"{n} side by side, stacked" for n in (2, 1, 2)]
    alone = went("conv-2", replicas, recipe, tiny_protocol, None)
    assert all(close(one.weights, other.weights) for one, other in zip(alone, together, strict=True))
    assert [outcome.steps for outcome in together] == [8, 5, 8]


def test_a_diverging_replica_harms_nobody(tiny_protocol: Protocol) -> None:
    replicas = replicas_of("resnet-20", 2)
    wild = {n: torch.full_like(t, 1e30) if n == "fc.weight" else t for n, t in replicas[0].start.items()}
    recipe = recipe_of(tiny_protocol)
    calm = went("resnet-20", [replicas[1]], recipe, tiny_protocol, None)[0]
    pair = [replace(replicas[0], start=wild), replicas[1]]
    alone = went("resnet-20", pair, recipe, tiny_protocol, None)[0]
    lost, kept = went("resnet-20", pair, recipe, tiny_protocol, Placement("cpu", "stacked"))
    assert lost.failure == alone.failure is not None
    assert (lost.train, lost.steps, lost.history.steps) == (None, alone.steps, alone.history.steps)
    assert kept.failure is None
    assert close(kept.weights, calm.weights)


@pytest.mark.parametrize(("fits", "sizes"), [(4, [4, 1]), (2, [5, 2, 2, 1]), (1, [5, 2, 1, 1, 1, 1, 1])])
def test_out_of_memory_halves_the_group(
    tiny_protocol: Protocol, monkeypatch: pytest.MonkeyPatch, fits: int, sizes: list[int]
) -> None:
    """Memory for `fits` replicas: the work goes on with half as many, and every outcome says so."""
    tried, forked = [], GROUPS["streams"]

    def scarce(replicas: Any, *rest: Any) -> Any:
        tried.append(len(replicas))
        if len(replicas) > fits:
            raise torch.OutOfMemoryError("no memory left")
        return forked(replicas, *rest)

    monkeypatch.setitem(GROUPS, "streams", scarce)
    replicas = [replace(replica, last_step=1) for replica in replicas_of("conv-2", 5)]
    recipe = recipe_of(tiny_protocol)
    if fits == 4:
        replicas, sizes = replicas[:4], [4]
    outcomes = went("conv-2", replicas, recipe, tiny_protocol, Placement("cpu", "streams"))
    assert tried == sizes
    assert [outcome.history.steps[0] for outcome in outcomes] == [0] * len(replicas)
    expected = {4: "4 side by side, streams", 2: "2 side by side, streams; 5 did not fit into memory"}
    expected[1] = "1 side by side, streams; 2 did not fit into memory"
    assert outcomes[0].replica_group == expected[fits]
    alone = went("conv-2", replicas, recipe, tiny_protocol, None)
    assert all(torch.equal(a.weights[n], b.weights[n]) for a, b in zip(alone, outcomes, strict=True) for n in a.weights)


def test_memory_for_not_even_one_is_an_error(tiny_protocol: Protocol, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> Any:
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setitem(GROUPS, "stacked", none)
    with pytest.raises(EnvironmentProblem, match="has not enough memory to train one network"):
        went("conv-2", replicas_of("conv-2", 2), recipe_of(tiny_protocol), tiny_protocol, Placement("cpu", "stacked"))


def test_progress_names_the_replica(tiny_protocol: Protocol) -> None:
    told: list[tuple[int, int, int]] = []
    replicas = replicas_of("conv-2", 3)
    replicas[0] = replace(replicas[0], first_step=6)
    when = EvaluationSpec.model_validate({**tiny_protocol.evaluation.model_dump(), "every": 4, "test_every": 4})
    train(
        replicas, TrainingSetup(lambda _: make(NETWORKS["conv-2"]), recipe_of(tiny_protocol), when, augmented()),
        lambda *now: told.append(now[:3]), Placement("cpu", "stacked"),
    )  # fmt: skip
    assert told == [(0, 8, 8), (1, 0, 8), (2, 0, 8), (1, 4, 8), (2, 4, 8), (1, 8, 8), (2, 8, 8)]


def test_every_family_has_a_strategy() -> None:
    for family in FAMILIES:
        assert strategy_for(family.model_construct()) in GROUPS


def same(one: Outcome, other: Outcome) -> bool:
    """Weights and snapshots to the bit, and everything that was seen."""
    states = [(one.weights, other.weights), *((one.snapshots[s], other.snapshots[s]) for s in one.snapshots)]
    bits = all(torch.equal(a[n], b[n]) for a, b in states for n in a)
    facts = [(o.history, o.train, o.steps, o.examples, o.failure, sorted(o.snapshots)) for o in (one, other)]
    return bits and facts[0] == facts[1]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("strategy", ["stacked", "streams"])
def test_a_killed_group_goes_on(tiny_protocol: Protocol, tmp_path: Path, strategy: Any, optimizer: str) -> None:
    """Killed at each look, one after the other: in the end the bits of one go; and it does go on, not begin again."""
    recipe = recipe_of(tiny_protocol, optimizer=optimizer, momentum=0.9 if optimizer == "sgd" else 0.0)
    replicas = replicas_of("resnet-20", 2, snapshots=(0, 5))
    whole = resumable("resnet-20", replicas, recipe, tiny_protocol, strategy, tmp_path / "whole", None)
    for kill_at in (2, 4, 6):
        with pytest.raises(Killed):
            resumable("resnet-20", replicas, recipe, tiny_protocol, strategy, tmp_path / "r", kill_at)
    resumed = resumable("resnet-20", replicas, recipe, tiny_protocol, strategy, tmp_path / "r", None)
    assert all(same(one, other) for one, other in zip(whole, resumed, strict=True))
    for file in ("0", "1"):  # had it begun again, these would not matter
        path = tmp_path / "r" / file
        state = load_weights(path)
        assert state is not None
        name = next(name for name in state if name.startswith("module.") and state[name].is_floating_point())
        save_weights(path, {**state, name: state[name] + 1.0}, tmp_path / "work")
    spoiled = resumable("resnet-20", replicas, recipe, tiny_protocol, strategy, tmp_path / "r", None)
    assert not same(spoiled[0], whole[0])


def test_one_that_lost_its_checkpoint_begins_again(tiny_protocol: Protocol, tmp_path: Path) -> None:
    """The others go on without it: two groups, and the same bits, as forked networks never touch."""
    recipe, replicas = recipe_of(tiny_protocol), replicas_of("conv-2", 3)
    whole = resumable("conv-2", replicas, recipe, tiny_protocol, "streams", tmp_path / "whole", None)
    with pytest.raises(Killed):
        resumable("conv-2", replicas, recipe, tiny_protocol, "streams", tmp_path / "r", 6)
    (tmp_path / "r" / "1").write_bytes(b"half a file")
    resumed = resumable("conv-2", replicas, recipe, tiny_protocol, "streams", tmp_path / "r", None)
    assert [outcome.replica_group for outcome in resumed] == [f"{n} side by side, streams" for n in (2, 1, 2)]
    assert all(same(one, other) for one, other in zip(whole, resumed, strict=True))
