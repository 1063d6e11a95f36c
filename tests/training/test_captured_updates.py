"""Captured updates against eager ones, to the bit, on imitated CUDA graphs: every family, strategy and precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import acting_hooks
import imitated_graphs
import pytest
import torch
from image_data import CROP
from image_networks import COMMON, NORM, STEM, spec
from imitated_graphs import NotToBeCaptured, Replayed
from torch import Tensor

from benchmark.api import Run
from benchmark.datasets.augment import Preparation
from benchmark.datasets.dataset import Dataset, Split
from benchmark.networks import initial_state, make
from benchmark.protocols import Protocol
from benchmark.protocols.network import ConvSpec, MlpSpec, NetworkSpec, ResNetSpec, VggSpec
from benchmark.protocols.recipe import AugmentationSpec, EvaluationSpec, Recipe
from benchmark.training import batches, cuda_graphs, loop, step
from benchmark.training.hooks import Hooks
from benchmark.training.loop import Placement, train
from benchmark.training.replicas import Outcome, Replica, TrainingSetup
from benchmark.utils.seeding import stream

SMALL = {**COMMON, "input": (3, 8, 8), "classes": 4}
RESIDUAL = {**SMALL, "name": "resnet-20", "width": 1, "batch_norm": NORM}
POOLED = {"kernel": 3, "stride": 1, "max_pool": "3x3-stride-2"}
EVERYWHERE = {"rate": 0.5, "after": "pools-and-hidden-linear-layers"}
ROWS, BATCH = 11, 4  # two whole batches and one of three


class ThinVgg(VggSpec):
    """A VGG with 4 channels."""

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        return ((4,), (4,), (4,), (4, 4), (4,))

    @property
    def head(self) -> tuple[int, ...]:
        return (4, 6, self.classes)


class ThinConv(ConvSpec):
    """Conv-2 with 4 channels and hidden layers of 8."""

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        return ((4, 4),)

    @property
    def head(self) -> tuple[int, ...]:
        return (4 * 4 * 4, 8, 8, self.classes)


class ThinResNet(ResNetSpec):
    """Two stages of a block each."""

    @property
    def stages(self) -> tuple[tuple[int, int], ...]:
        return ((4, 1), (8, 1))


def mlp(name: Any, *widths: int) -> MlpSpec:
    return MlpSpec(name=name, initialiser="glorot-normal", bias="zeros", widths=widths)


NETWORKS: dict[str, NetworkSpec] = {
    "mlp": mlp("mlp", 20, 12, 8, 4),
    "residual-mlp": mlp("residual-mlp", 20, 8, 8, 4),
    "lenet-5": spec("lenet-5-caffe", **{**SMALL, "input": (1, 16, 16)}),
    "conv-2": ThinConv.model_validate({**SMALL, "name": "conv-2", "dropout": EVERYWHERE}),
    "vgg-11": ThinVgg.model_validate(
        {**SMALL, "name": "vgg-11", "input": (3, 32, 32), "batch_norm": NORM, "convolution_bias": True,
         "last_pool": "max-2x2", "hidden": (6,), "dropout": {"rate": 0.5, "after": "hidden-linear-layers"}}
    ),
    "resnet": ThinResNet.model_validate({**RESIDUAL, "shortcut": "zero-padding", "stem": STEM}),
    "resnet-b": ThinResNet.model_validate({**RESIDUAL, "shortcut": "convolution", "stem": POOLED}),
}  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """Two replicas of a network to be trained on the CPU, in one strategy; every choice that changes an update."""

    name: str
    strategy: Any
    recipe: Recipe
    evaluation: EvaluationSpec
    hooks: Hooks | None = None
    steps: int = 11

    def replicas(self) -> list[Replica]:
        """Of other weights, masks and orders; the second is dense."""
        made = []
        for seed in range(2):
            fields = NETWORKS[self.name]
            state, rng = initial_state(make(fields), fields, stream(seed, "init")), torch.Generator().manual_seed(seed)
            weights = [n for n, t in state.items() if n.endswith("weight") and t.dim() > 1]
            masks = {n: (torch.rand(state[n].shape, generator=rng) < 0.5) | (seed == 1) for n in weights}
            rows = torch.randperm(ROWS + 5, generator=rng)
            made.append(Replica(seed, state, masks, Split(rows[:ROWS], rows[ROWS:]), self.steps, 0, (6,)))
        return made

    def trained(self, side_by_side: bool = True) -> list[Outcome]:
        """By whatever `loop.Eager` is at the moment."""
        setup = TrainingSetup(lambda _: make(NETWORKS[self.name]), self.recipe, self.evaluation, data(self.name))
        placement = Placement("cpu", self.strategy) if side_by_side else None
        return train(self.replicas(), setup, None, placement, hooks=self.hooks)


def data(name: str) -> Dataset:
    """Random examples as the network reads them; images are bytes, cropped and flipped."""
    shape, rng = NETWORKS[name].input_shape, torch.Generator().manual_seed(7)
    inputs = torch.randint(0, 256, (ROWS + 15, *shape), generator=rng, dtype=torch.uint8)
    labels, prepare = torch.randint(0, 4, (ROWS + 15,), generator=rng), Preparation()
    if len(shape) == 3:
        prepare = Preparation((0.5,) * shape[0], (0.3,) * shape[0], AugmentationSpec.model_validate(CROP))
    stored = inputs if len(shape) == 3 else inputs.float() / 255
    cut = ROWS + 5
    return Dataset("random", stored[:cut], labels[:cut], stored[cut:], labels[cut:], 4, "random", prepare)


def trial(tiny: Protocol, name: str, strategy: Any, hooks: Hooks | None = None, **recipe: Any) -> Trial:
    """With all that moves: momentum, weight decay, a rate that changes at every update, masks, crops, dropped units."""
    fields = {
        "optimizer": "sgd", "learning_rate": 0.02, "momentum": 0.9, "weight_decay": 0.01, "batch_size": BATCH,
        "steps": 11, "cosine": {"floor": 0.0, "per": "step", "spans": "all-steps"},
    }  # fmt: skip
    when = EvaluationSpec.model_validate({**tiny.evaluation.model_dump(), "every": 5, "test_every": 10})
    return Trial(name, strategy, Recipe.model_validate({**tiny.recipe.model_dump(), **fields, **recipe}), when, hooks)


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


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("strategy", ["stacked", "streams"])
@pytest.mark.parametrize("name", NETWORKS)
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


@pytest.mark.parametrize("strategy", ["stacked", "streams"])
def test_adam_too(tiny_protocol: Protocol, replayed: Any, strategy: Any) -> None:
    asked = trial(tiny_protocol, "conv-2", strategy, optimizer="adam", momentum=0.0, learning_rate=0.001)
    assert differing(replayed(asked)[0], asked.trained()) == []


class Moving(acting_hooks.Moving):
    """Moves weights of the first layer."""

    told, layer = (BATCH, 3), "head.fc1.weight"


class Freezing(acting_hooks.Acting):
    """Holds the biases of a layer still."""

    told = (BATCH, 3)

    def change(self, step: int, run: Run) -> None:  # noqa: ARG002
        run.frozen["head.fc1.bias"] = torch.ones_like(run.network.get_parameter("head.fc1.bias"), dtype=torch.bool)


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
    alone = replace(asked).trained(side_by_side=False)
    assert all(torch.equal(a.weights[n], b.weights[n]) for a, b in zip(together, alone, strict=True) for n in a.weights)
