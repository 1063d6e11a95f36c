"""The engine against a plain slow loop: own module, unfused optimizers, masks in the forward pass, own batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.api import Masks
from benchmark.datasets.dataset import Dataset, Split, load, split
from benchmark.networks.mlp import Mlp
from benchmark.protocols import Protocol
from benchmark.protocols.recipe import EvaluationSpec, Recipe
from benchmark.training import replicas as replica_groups
from benchmark.training.loop import train
from benchmark.training.replicas import Outcome, Replica, TrainingSetup
from benchmark.utils.seeding import stream

WIDTHS = (12, 16, 8, 4)
State = dict[str, Tensor]


@pytest.fixture
def dataset(tiny_path: Any) -> Dataset:
    """The synthetic points."""
    return load("synthetic", tiny_path.parent)


def initial(seed: int = 0) -> State:
    """Weights of order one over the square root of the fan-in, biases too."""
    rng = torch.Generator().manual_seed(seed)
    return {n: torch.randn(p.shape, generator=rng) * 0.3 for n, p in Mlp(WIDTHS).named_parameters()}


def half(seed: int = 0) -> Masks:
    """About half of every weight matrix, nothing of input 3."""
    rng = torch.Generator().manual_seed(seed + 50)
    masks = {n: torch.rand(v.shape, generator=rng) < 0.5 for n, v in initial().items() if n.endswith("weight")}
    masks["fc1.weight"][:, 3] = False
    return masks


def full() -> Masks:
    """Everything stays."""
    return {n: torch.ones(v.shape, dtype=torch.bool) for n, v in initial().items() if n.endswith("weight")}


def make(inputs: int | None) -> Mlp:
    """The network, reading `inputs` features."""
    return Mlp((inputs or WIDTHS[0], *WIDTHS[1:]))


def recipe_of(tiny: Protocol, **changes: Any) -> Recipe:
    """The tiny recipe with some fields changed."""
    return Recipe.model_validate({**tiny.recipe.model_dump(), **changes})


def ran(tiny: Protocol, dataset: Dataset, recipe: Recipe, replicas: list[Replica], **evaluation: Any) -> list[Outcome]:
    """Train with the tiny evaluation schedule, or a changed one."""
    when = EvaluationSpec.model_validate({**tiny.evaluation.model_dump(), **evaluation})
    return train(replicas, TrainingSetup(make, recipe, when, dataset))


class Plain(nn.Module):
    """Three linear layers; masked weights are multiplied by their mask in every forward pass."""

    def __init__(self, state: State, masks: Masks) -> None:
        super().__init__()
        self.values = nn.ParameterDict({n.replace(".", "_"): nn.Parameter(v.clone()) for n, v in state.items()})
        self.masks = {n.replace(".", "_"): m.float() for n, m in masks.items()}

    def weight(self, name: str) -> Tensor:
        """A parameter as the forward pass uses it."""
        value: Tensor = self.values[name]
        return value * self.masks[name] if name in self.masks else value

    def forward(self, x: Tensor) -> Tensor:
        for i in (1, 2, 3):
            x = x @ self.weight(f"fc{i}_weight").T + self.weight(f"fc{i}_bias")
            x = x.clamp(min=0) if i < 3 else x
        return x


def nll(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy from its definition."""
    return (logits.exp().sum(1).log() - logits[torch.arange(len(labels)), labels]).mean()


def reference(recipe: Recipe, dataset: Dataset, rows: Split, seed: int, start: State, masks: Masks) -> list[State]:
    """Weights after 0, 1, 2, ... updates of the plain loop."""
    network = Plain(start, masks)
    if recipe.optimizer == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(
            network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, foreach=False
        )
    else:
        optimizer = torch.optim.SGD(
            network.parameters(),
            recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            foreach=False,
        )
    seen, epoch = [], 0
    while True:
        order = rows.training[torch.randperm(len(rows.training), generator=stream(seed, "order", epoch))]
        epoch += 1
        for first in range(0, len(order), recipe.batch_size):
            seen.append({n: network.weight(n.replace(".", "_")).detach().clone() for n in start})
            if len(seen) > recipe.steps:
                return seen
            batch = order[first : first + recipe.batch_size]
            optimizer.zero_grad()
            nll(network(dataset.train_inputs[batch]), dataset.train_labels[batch]).backward()
            optimizer.step()


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adam"},
        {"optimizer": "adam", "weight_decay": 0.01},
        {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.01},
        {"optimizer": "sgd", "learning_rate": 0.05},
    ],
)
@pytest.mark.parametrize("masks", [half(), full()], ids=["half", "full"])
def test_agrees_with_a_plain_loop(tiny_protocol: Protocol, dataset: Dataset, changes: Any, masks: Masks) -> None:
    """40 updates over five epochs with a partial last batch: weights, losses and accuracies on the way."""
    recipe = recipe_of(tiny_protocol, steps=40, **changes)
    rows = split(dataset, 90, 4)
    expected = reference(recipe, dataset, rows, 4, initial(), masks)
    snapshots = (1, 8, 9, 40)
    outcome = ran(tiny_protocol, dataset, recipe, [Replica(4, initial(), masks, rows, 40, 0, snapshots)], test_every=2)[
        0
    ]
    for step in snapshots:
        for name, value in expected[step].items():
            assert torch.allclose(outcome.snapshots[step][name], value, rtol=1e-4, atol=2e-5), (step, name)
    assert outcome.history.steps == outcome.history.test_steps == tuple(range(0, 41, 2))
    for step, validation, test in zip(
        outcome.history.steps, outcome.history.validation, outcome.history.test, strict=True
    ):
        network = Plain(expected[step], {})
        with torch.no_grad():
            held_out = network(dataset.train_inputs[rows.validation])
            unseen = network(dataset.test_inputs)
        assert validation.loss == pytest.approx(float(nll(held_out, dataset.train_labels[rows.validation])), rel=1e-3)
        assert test.loss == pytest.approx(float(nll(unseen, dataset.test_labels)), rel=1e-3)
        right = float((unseen.argmax(1) == dataset.test_labels).float().mean())
        assert test["accuracy"] == pytest.approx(100 * right, abs=0.51)  # one example may sit on the border
    last = Plain(expected[40], {})(dataset.train_inputs[rows.training]).detach()
    assert outcome.train is not None
    assert outcome.train.loss == pytest.approx(float(nll(last, dataset.train_labels[rows.training])), rel=1e-3)
    assert (outcome.steps, outcome.examples) == (40, 5 * 310)
    assert outcome.history.validation[-1].loss < outcome.history.validation[0].loss  # it did learn


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_pruned_weights_and_their_optimizer_state_stay_zero(
    tiny_protocol: Protocol, dataset: Dataset, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every evaluation, at the end, and in every moment of the optimizer; weight decay on."""
    masks = half()
    masks["fc1.weight"][0, 3] = True  # no empty column: the engine's network is the whole one
    recipe = recipe_of(
        tiny_protocol, optimizer=optimizer, weight_decay=0.01, momentum=0.9 if optimizer == "sgd" else 0.0
    )
    looked, optimizers = [], []
    measure, make_optimizer = replica_groups.measure, replica_groups.make_optimizer

    def looking(network: Mlp, *rest: Any) -> Any:
        looked.append({n: network.get_parameter(n)[~mask].abs().max().item() for n, mask in masks.items()})
        return measure(network, *rest)

    def keeping(*arguments: Any) -> torch.optim.Optimizer:
        optimizers.append((make_optimizer(*arguments), list(arguments[1])))
        return optimizers[-1][0]

    monkeypatch.setattr(replica_groups, "measure", looking)
    monkeypatch.setattr(replica_groups, "make_optimizer", keeping)
    rows = split(dataset, 90, 0)
    outcome = ran(tiny_protocol, dataset, recipe, [Replica(0, initial(), masks, rows, recipe.steps)])[0]
    assert len(looked) > 11
    assert all(largest == 0.0 for each in looked for largest in each.values())
    assert all(not outcome.weights[n][~mask].any() for n, mask in masks.items())
    used, parameters = optimizers[0]
    by_shape = {parameter.shape: parameter for parameter in parameters}
    for mask in masks.values():
        moments = [value for value in used.state[by_shape[mask.shape]].values() if value.shape == mask.shape]
        assert len(moments) == (2 if optimizer == "adam" else 1)
        for moment in moments:
            assert not moment[~mask].any()
            assert moment[mask].any()


def same(one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes agree to the bit."""
    weights = all(torch.equal(one.weights[n], other.weights[n]) for n in one.weights)
    return weights and one.history == other.history and one.train == other.train


def test_a_replica_alone_is_the_replica_in_company(tiny_protocol: Protocol, dataset: Dataset) -> None:
    replicas = [
        Replica(seed, initial(seed), masks, split(dataset, 90, seed), tiny_protocol.recipe.steps)
        for seed, masks in ((0, half(0)), (1, full()), (2, half(1)))
    ]
    torch.manual_seed(1)
    alone = [ran(tiny_protocol, dataset, tiny_protocol.recipe, [replica])[0] for replica in replicas]
    torch.manual_seed(2)
    together = ran(tiny_protocol, dataset, tiny_protocol.recipe, replicas)
    backwards = ran(tiny_protocol, dataset, tiny_protocol.recipe, replicas[::-1])[::-1]
    assert all(same(a, b) and same(a, c) for a, b, c in zip(alone, together, backwards, strict=True))
    assert not same(alone[0], alone[2])


def test_going_on_from_a_snapshot_is_going_on(tiny_protocol: Protocol, dataset: Dataset) -> None:
    """Without optimizer state, a run from update 11 (within an epoch) gives the uninterrupted run's bits."""
    recipe = recipe_of(tiny_protocol, optimizer="sgd", learning_rate=0.1)
    rows = split(dataset, 90, 0)
    whole = ran(tiny_protocol, dataset, recipe, [Replica(0, initial(), half(), rows, 20, 0, (11,))])[0]
    rest = ran(tiny_protocol, dataset, recipe, [Replica(0, whole.snapshots[11], half(), rows, 20, 11)])[0]
    assert (rest.steps, whole.steps) == (9, 20)
    assert all(torch.equal(rest.weights[n], whole.weights[n]) for n in whole.weights)
    assert rest.history.steps == whole.history.steps[6:] == (12, 14, 16, 18, 20)
    assert rest.history.validation == whole.history.validation[6:]
    assert rest.train == whole.train


def test_a_new_round_starts_with_a_fresh_optimizer(tiny_protocol: Protocol, dataset: Dataset) -> None:
    """Adam's first update from any point has the size of the learning rate, whatever the gradient."""
    rows = split(dataset, 90, 0)
    whole = ran(tiny_protocol, dataset, tiny_protocol.recipe, [Replica(0, initial(), full(), rows, 20, 0, (10,))])[0]
    start = whole.snapshots[10]
    one = ran(tiny_protocol, dataset, tiny_protocol.recipe, [Replica(0, start, full(), rows, 11, 10)])[0]
    change = (one.weights["fc3.bias"] - start["fc3.bias"]).abs()
    assert change.tolist() == pytest.approx([tiny_protocol.recipe.learning_rate] * 4, rel=1e-3)
