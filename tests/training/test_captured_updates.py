"""Captured updates against eager ones, to the bit, on imitated CUDA graphs: every family, strategy and precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import imitated_graphs
import pytest
import torch
from captured_trials import NETWORKS, Freezing, Moving, Trial, trial
from imitated_graphs import NotToBeCaptured, Replayed
from pairs import pairs
from torch import Tensor

from baselines.edge_popup import EdgePopup
from baselines.gem_miner import GemMiner
from benchmark.api import Learner
from benchmark.protocols import Protocol
from benchmark.pruning import topk
from benchmark.training import batches, cuda_graphs, loop, step
from benchmark.training.replicas import Outcome


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Trial], tuple[list[Outcome], Replayed]]:
    """Train on imitated graphs, which capture after one update and hold two where two are alike."""
    monkeypatch.setattr(cuda_graphs, "WARM_UPS", 1)
    monkeypatch.setattr(cuda_graphs, "LONG", 2)

    def run(trial: Trial) -> tuple[list[Outcome], Replayed]:
        made: list[Replayed] = []

        def updates(steps: Sequence[Any]) -> Replayed:
            made.append(Replayed(steps))
            return made[-1]

        with monkeypatch.context() as patch:
            patch.setattr(loop, "Eager", updates)
            return trial.trained(), made[0]

    return run


def differing(one: Sequence[Outcome], other: Sequence[Outcome]) -> list[str]:
    """What is not the same to the bit: weights at the end and on the way, masks, what was measured."""
    found = []
    for left, right in zip(one, other, strict=True):
        for states in ((left.weights, right.weights), (left.snapshots[6], right.snapshots[6])):
            found += [name for name, value in states[0].items() if not torch.equal(value, states[1][name])]
        facts = [(o.history, o.train, o.failure, o.steps, o.examples, o.hook_facts) for o in (left, right)]
        found += ["what was measured"] if facts[0] != facts[1] or left.failure else []
    return found


@pytest.mark.parametrize(("name", "strategy", "precision"), pairs(NETWORKS, ["stacked", "streams"], ["fp32", "bf16"]))
def test_graphs_repeat_what_eager_updates_do(
    tiny_protocol: Protocol, replayed: Any, name: str, strategy: Any, precision: str
) -> None:
    """Warm-up, single and double graphs, those of the partial batch; stops for a snapshot and evaluations between."""
    asked = trial(tiny_protocol, name, strategy, precision=precision)
    outcomes, replay = replayed(asked)
    assert differing(outcomes, asked.trained()) == []
    # Epochs of 4, 4, 3. A stop after 5 updates cuts the second epoch's pair, one after 6 is at its end.
    first, last = [(4, 1), (4, 1), (3, 1)], [(4, 2), (3, 1)]
    assert replay.log == [*first, (4, 2), (3, 1), *last, (4, 1), (4, 1)]
    assert len(replay.imitation.tapes) == 3


@pytest.mark.parametrize(
    "kind", [lambda: EdgePopup(gradual=1, penalty=1e-3), lambda: GemMiner(1)], ids=["popup", "gem"]
)
@pytest.mark.parametrize("name", ["mlp", "resnet"])
def test_scores_are_learned_by_captured_updates(
    tiny_protocol: Protocol, replayed: Any, monkeypatch: pytest.MonkeyPatch, name: str, kind: Callable[[], Learner]
) -> None:
    """With the top scores found as on CUDA; densities change at the end of each epoch, and updates with them."""
    monkeypatch.setattr(topk, "chosen", topk.by_sorting)
    plain = trial(tiny_protocol, name, "streams", learning_rate=0.5)
    sizes = {weight: mask.numel() for weight, mask in plain.replicas()[0].masks.items()}

    def learner(_number: int) -> Learner:
        made = kind()
        made.target = {tuple(sizes): sum(sizes.values()) // 5}
        return made

    asked = replace(plain, learners=learner)
    outcomes, replay = replayed(asked)
    assert differing(outcomes, asked.trained()) == []
    assert len(replay.imitation.tapes) > 3  # captured anew
    first, last = outcomes[0].snapshots[6], outcomes[0].weights
    assert any(not torch.equal(first[weight], last[weight]) for weight in sizes)


@pytest.mark.parametrize("strategy", ["stacked", "streams"])
def test_adam_too(tiny_protocol: Protocol, replayed: Any, strategy: Any) -> None:
    asked = trial(tiny_protocol, "conv-2", strategy, optimizer="adam", momentum=0.0, learning_rate=0.001)
    assert differing(replayed(asked)[0], asked.trained()) == []


@pytest.mark.parametrize("strategy", ["stacked", "streams"])
def test_masks_move_in_place_and_frozen_units_are_captured_anew(
    tiny_protocol: Protocol, replayed: Any, strategy: Any
) -> None:
    """A mask that moves needs no other graph; what is frozen does."""
    moving = trial(tiny_protocol, "conv-2", strategy, lambda _: [Moving(4, 8)])
    outcomes, replay = replayed(moving)
    assert differing(outcomes, moving.trained()) == []
    graphs = len(replay.imitation.tapes)
    frozen = trial(tiny_protocol, "conv-2", strategy, lambda _: [Freezing(5)])
    outcomes, replay = replayed(frozen)
    assert differing(outcomes, frozen.trained()) == []
    assert len(replay.imitation.tapes) > graphs


# What must not be in a captured update, planted one at a time.


def replacing(tables: Any, step: int) -> None:
    """Tables of a new epoch at another address."""
    tables._now, tables._epoch = dict[str, Tensor](), step // tables.per_epoch
    tables._now.update({name: table.clone() for name, table in tables._tables(tables._epoch).items()})


def baked(tables: Any, size: int) -> Tensor:
    """The number of a batch as the host knows it."""
    now = int(tables._baked) if hasattr(tables, "_baked") else 0
    tables._baked = now + 1
    return torch.arange(size) + now % tables.per_epoch * tables.recipe.batch_size


class Reading(step.Single):
    """Looks at its loss."""

    def losses(self, *arguments: Any) -> Tensor:
        loss = super().losses(*arguments)
        return loss if float(loss.detach()) < 1e9 else loss * 0


class Drawing(step.Single):
    """Draws from a generator."""

    def losses(self, inputs: Tensor, *rest: Any) -> Tensor:
        return super().losses(inputs + 0.01 * torch.rand_like(inputs), *rest)


@pytest.mark.parametrize(
    ("place", "name", "fault", "message"),
    [
        (batches.Tables, "open", replacing, None),
        (batches.Tables, "_places", baked, None),
        ("benchmark.training.replicas", "Single", Reading, "makes the host wait"),
        ("benchmark.training.replicas", "Single", Drawing, "draws from a generator"),
    ],
    ids=["replaced table", "baked number", "host read", "generator"],
)
def test_planted_faults_are_caught(
    tiny_protocol: Protocol, replayed: Any, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, fault: Any,
    message: str | None,
) -> None:  # fmt: skip
    """Each gives the right numbers eagerly, but the generator's, and is caught where it is captured."""
    asked = trial(tiny_protocol, "mlp", "streams")
    right = asked.trained()
    monkeypatch.setattr(
        f"{place}.{name}" if isinstance(place, str) else place, *([] if isinstance(place, str) else [name]), fault
    )
    if message is None:
        assert differing(replayed(asked)[0], right) != []
    else:
        with pytest.raises(NotToBeCaptured, match=message):
            replayed(asked)


def test_branches_that_share_memory_are_caught() -> None:
    """One counter for two networks: right one after another, a race side by side. To read the same is none."""
    device, counter, source = imitated_graphs.Imitation(), torch.zeros(1), torch.ones(1)

    def sharing() -> None:
        device.beside([lambda: counter.add_(1), lambda: counter.add_(1)])  # type: ignore[list-item]

    with pytest.raises(NotToBeCaptured, match="write the same memory"):
        device.captured(sharing)
    device.captured(lambda: device.beside([lambda: source.add(1), lambda: counter.add_(source)]))  # type: ignore[list-item]


def test_memory_of_a_graph_does_not_outlive_its_launch() -> None:
    """A value that is only in a graph's memory is rubbish afterwards, as where graphs share a pool."""
    device, inside = imitated_graphs.Imitation(), list[Tensor]()
    source, target = torch.ones(3), torch.zeros(3)

    def work() -> None:
        inside.append(source * 2)
        target.copy_(inside[0] + 1)

    launch = device.captured(work)
    assert target.tolist() == [0, 0, 0], "capturing ran"
    source.fill_(5)
    launch()
    assert target.tolist() == [11, 11, 11]
    assert inside[0].isnan().all()


def test_the_second_replica_is_that_of_another_group(tiny_protocol: Protocol, replayed: Any) -> None:
    """Captured streams give each replica the bits that it has alone."""
    asked = trial(tiny_protocol, "conv-2", "streams")
    together, _ = replayed(asked)
    alone = asked.trained(None)
    assert all(torch.equal(a.weights[n], b.weights[n]) for a, b in zip(together, alone, strict=True) for n in a.weights)
