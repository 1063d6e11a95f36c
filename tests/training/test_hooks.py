"""Hooks on one network and on stacked ones: masks that move, frozen units, another loss, another network, resuming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import acting_hooks
import pytest
import torch
from replica_groups import NETWORKS, augmented, recipe_of, replicas_of
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmark.api import GathersScores, Hook, Run
from benchmark.networks import make
from benchmark.protocols import Protocol
from benchmark.protocols.recipe import EvaluationSpec, Recipe
from benchmark.training import replicas as replica_groups
from benchmark.training.checkpoint import CheckpointFile
from benchmark.training.hooks import Hooks
from benchmark.training.loop import Placement, train
from benchmark.training.replicas import Outcome, TrainingSetup
from benchmark.utils.errors import BadInput

PLACEMENTS = [None, Placement("cpu", "streams"), Placement("cpu", "stacked")]
NAME, FIRST, BIAS = "conv-2", "head.fc1.weight", "head.fc1.bias"


class Acting(acting_hooks.Acting):
    """Told of the data that these networks are trained on."""

    told = (16, 5)


class Moving(acting_hooks.Moving):
    """Told of it too; moves weights of the first layer."""

    told, layer = (16, 5), FIRST


class Freezing(Acting):
    """Freezes the first units of a layer, weights and bias."""

    def change(self, step: int, run: Run) -> None:  # noqa: ARG002
        for name in (FIRST, BIAS):
            run.frozen[name] = torch.zeros_like(run.network.get_parameter(name), dtype=torch.bool)
            run.frozen[name][:5] = True


def flat(outputs: Tensor, labels: Tensor) -> Tensor:
    """A loss of no gradient."""
    return 0.0 * cross_entropy(outputs.float(), labels)


class Flattening(Acting):
    """From its step on, nothing is learned."""

    def change(self, step: int, run: Run) -> None:  # noqa: ARG002
        run.loss = flat


def hooked(
    tiny: Protocol, hooks: Hooks | None, placement: Placement | None, count: int = 2, files: Any = (), **recipe: Any
) -> list[Outcome]:
    """Train small convolutional networks under hooks, looking every second update."""
    when = EvaluationSpec.model_validate({**tiny.evaluation.model_dump(), "every": 2, "test_every": 4})
    setup = TrainingSetup(lambda _: make(NETWORKS[NAME]), recipe_of(tiny, **recipe), when, augmented())
    replicas = [replace(each, snapshots=(3, 8)) for each in replicas_of(NAME, 3)[::2][:count]]
    return train(replicas, setup, None, placement, files, hooks)


@pytest.mark.parametrize("placement", PLACEMENTS, ids=str)
@pytest.mark.parametrize("fields", [{}, {"optimizer": "adam", "momentum": 0.0, "learning_rate": 0.01}])
def test_a_mask_moves(tiny_protocol: Protocol, placement: Any, fields: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What leaves is exactly zero, and the optimizer's memory of it; what enters starts at zero and learns."""
    optimizers: list[Any] = []
    make_optimizer = replica_groups.make_optimizer

    def remembered(*arguments: Any) -> Any:
        optimizers.append((make_optimizer(*arguments), arguments[1]))
        return optimizers[-1][0]

    monkeypatch.setattr(replica_groups, "make_optimizer", remembered)
    hooks: dict[int, Moving] = {}

    def made(number: int) -> list[Hook]:
        hooks[number] = Moving(3, 6, 99)
        return [hooks[number]]

    outcomes = hooked(tiny_protocol, made, placement, **fields)
    assert [hooks[number].moves for number in (0, 1)] == [2, 2]
    first = [replicas_of(NAME, 3)[n].masks for n in (0, 2)]
    for number, outcome in enumerate(outcomes):
        assert outcome.masks is not None
        before, after = first[number][FIRST], outcome.masks[FIRST]
        assert int(before.sum()) == int(after.sum())
        grown = after & ~before
        assert int(grown.sum()) > 0
        assert outcome.weights[FIRST][grown].count_nonzero() > 0
        for name, mask in outcome.masks.items():
            assert not outcome.weights[name][~mask].any()
        dropped = hooks[number].met[6][FIRST].ne(0) & ~after  # a weight that lived until the second move
        assert dropped.any()
        assert not outcome.snapshots[8][FIRST][dropped].any()
        assert set(outcome.history.steps) == {0, 2, 4, 6, 8}
    for number, outcome in enumerate(outcomes):
        optimizer, parameters = optimizers[0 if len(optimizers) == 1 else number]
        stacked = placement is not None and placement.strategy == "stacked"
        shape = outcome.weights[FIRST].shape
        parameter = next(p for p in parameters if p.shape[stacked:] == shape)
        moments = [t for t in optimizer.state[parameter].values() if t.shape == parameter.shape]
        assert len(moments) == (2 if "optimizer" in fields else 1)
        for moment in moments:
            own = moment[number] if stacked else moment
            assert not own[~outcome.masks[FIRST]].any()  # type: ignore[index]
            assert own[outcome.masks[FIRST]].any()  # type: ignore[index]


def test_a_move_is_the_same_in_every_group(tiny_protocol: Protocol) -> None:
    alone, streams, stacked = (hooked(tiny_protocol, lambda _: [Moving(3)], each) for each in PLACEMENTS)
    for one, other, third in zip(alone, streams, stacked, strict=True):
        assert all(torch.equal(one.weights[n], other.weights[n]) for n in one.weights)
        assert all(torch.allclose(one.weights[n], third.weights[n], rtol=1e-4, atol=2e-5) for n in one.weights)
        assert one.masks is not None
        assert third.masks is not None
        assert all(torch.equal(one.masks[n], third.masks[n]) for n in one.masks)


@pytest.mark.parametrize("placement", PLACEMENTS, ids=str)
@pytest.mark.parametrize("fields", [{}, {"optimizer": "adam", "momentum": 0.0, "learning_rate": 0.01}])
@pytest.mark.parametrize("step", [0, 4])
def test_frozen_units_stay(tiny_protocol: Protocol, placement: Any, fields: Any, step: int) -> None:
    """Neither momentum nor weight decay moves them; their neighbours go on."""
    hooks: dict[int, Freezing] = {}
    outcomes = hooked(tiny_protocol, lambda n: [hooks.setdefault(n, Freezing(step))], placement, **fields)
    for number, outcome in enumerate(outcomes):
        for name in (FIRST, BIAS):
            then, now = hooks[number].met[step][name], outcome.weights[name]
            assert torch.equal(then[:5], now[:5])
            assert not torch.equal(then[5:], now[5:])


@pytest.mark.parametrize("placement", PLACEMENTS, ids=str)
def test_another_loss(tiny_protocol: Protocol, placement: Any) -> None:
    """Without gradient, momentum and decay, weights stay as they were when the loss changed."""
    hooks: dict[int, Flattening] = {}
    plain = {"momentum": 0.0, "weight_decay": 0.0}
    outcomes = hooked(tiny_protocol, lambda n: [hooks.setdefault(n, Flattening(4))], placement, **plain)
    for number, outcome in enumerate(outcomes):
        assert all(torch.equal(value, outcome.weights[n]) for n, value in hooks[number].met[4].items())
        assert not torch.equal(outcome.snapshots[3][FIRST], outcome.weights[FIRST])


class Replacing(Acting):
    """Has another network of half the weights trained in its place."""

    def change(self, step: int, run: Run) -> None:  # noqa: ARG002
        other = make(NETWORKS[NAME])
        state = {name: value * 0.5 for name, value in run.network.state_dict().items()}
        other.load_state_dict(state)
        run.network = other


def test_another_network(tiny_protocol: Protocol) -> None:
    """Its own values are taken on, the optimizer goes on with them; a stack has one architecture and says so."""
    hooks: dict[int, Replacing] = {}
    outcomes = hooked(tiny_protocol, lambda n: [hooks.setdefault(n, Replacing(3))], None)
    for number, outcome in enumerate(outcomes):
        then = hooks[number].met[3]
        assert torch.equal(outcome.snapshots[3][FIRST], then[FIRST] * 0.5)
        assert not torch.equal(outcome.weights[FIRST], outcome.snapshots[3][FIRST])
    with pytest.raises(BadInput, match="Use streams"):
        hooked(tiny_protocol, lambda _: [Replacing(3)], Placement("cpu", "stacked"))


def test_a_hook_that_does_nothing_changes_nothing(tiny_protocol: Protocol) -> None:
    for placement in PLACEMENTS:
        bare, idle = (hooked(tiny_protocol, hooks, placement) for hooks in (None, lambda _: [Acting(1, 5)]))
        for one, other in zip(bare, idle, strict=True):
            assert all(torch.equal(one.weights[n], other.weights[n]) for n in one.weights)
            assert (one.history, one.train, one.replica_group) == (other.history, other.train, other.replica_group)


class Killed(Exception):
    """The machine failed."""


class Dying(Moving):
    """Moves masks, and dies instead of acting once."""

    def __init__(self, at: int | None, *steps: int) -> None:
        super().__init__(*steps)
        self.dies = at

    def change(self, step: int, run: Run) -> None:
        if step == self.dies:
            raise Killed
        super().change(step, run)


@pytest.mark.parametrize("placement", PLACEMENTS, ids=str)
def test_killed_with_hooks(tiny_protocol: Protocol, placement: Any, tmp_path: Path) -> None:
    """Masks, and what hooks remember, are in the checkpoint: the bits of one go, and no hook acts twice at a step."""

    def files(name: str) -> list[CheckpointFile]:
        return [CheckpointFile(tmp_path / f"{name}-{n}", tmp_path / "work", f"replica {n}", 0.0) for n in (0, 1)]

    whole = hooked(tiny_protocol, lambda _: [Moving(2, 5, 7)], placement)
    moving: dict[int, Dying] = {}
    for dies in (5, 7, None):

        def made(number: int, dies: int | None = dies) -> list[Hook]:
            moving[number] = Dying(dies, 2, 5, 7)
            return [moving[number]]

        if dies is None:
            resumed = hooked(tiny_protocol, made, placement, files=files("r"))
        else:
            with pytest.raises(Killed):
                hooked(tiny_protocol, made, placement, files=files("r"))
    assert [moving[number].moves for number in (0, 1)] == [3, 3]
    for one, other in zip(whole, resumed, strict=True):
        assert all(torch.equal(one.weights[n], other.weights[n]) for n in one.weights)
        assert one.masks is not None
        assert other.masks is not None
        assert all(torch.equal(one.masks[n], other.masks[n]) for n in one.masks)
        assert one.history == other.history


class Watching(GathersScores):
    """Looks at a batch after each update, in training mode, as a score of forward passes does."""

    paper, name = "none", "watching"
    scores: dict[str, Tensor] = {}  # noqa: RUF012
    forward_passes = 0

    def when(self, recipe: Recipe, updates_per_epoch: int) -> range:  # noqa: ARG002
        return range(1, recipe.steps)

    @torch.no_grad()
    def at(self, step: int, run: Run) -> None:  # noqa: ARG002
        run.network(run.batch()[0])


@pytest.mark.parametrize("placement", PLACEMENTS, ids=str)
def test_gathering_scores_leaves_batch_norms_statistics_alone(tiny_protocol: Protocol, placement: Any) -> None:
    """The network ends with the bits that it has without the hook, running means and counts of batches included."""
    when = EvaluationSpec.model_validate({**tiny_protocol.evaluation.model_dump(), "every": 2, "test_every": 4})
    setup = TrainingSetup(lambda _: make(NETWORKS["resnet-20"]), recipe_of(tiny_protocol), when, augmented())
    (plain,), (watched,) = (
        train(replicas_of("resnet-20", 1), setup, None, placement, (), hooks)
        for hooks in (None, lambda _number: [Watching()])
    )
    assert any("running_mean" in name for name in plain.weights)
    assert all(torch.equal(value, watched.weights[name]) for name, value in plain.weights.items())
