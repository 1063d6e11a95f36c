"""Learning rates over time by hand, pruned weights under every optimizer, precision, dropout."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.api import Masks
from benchmark.datasets.dataset import Dataset, load, split
from benchmark.networks.layers import Dropout, dropouts, give_words
from benchmark.networks.mlp import Mlp
from benchmark.protocols import Protocol
from benchmark.protocols.recipe import Recipe
from benchmark.training import step as one_update
from benchmark.training.device import described
from benchmark.training.loop import train
from benchmark.training.optim import learning_rates, make_optimizer, parameters_of, updating
from benchmark.training.replicas import Outcome, Replica, TrainingSetup
from benchmark.utils.seeding import stream

WIDTHS = (12, 16, 8, 4)


def recipe_of(tiny: Protocol, **changes: Any) -> Recipe:
    """The tiny recipe with some fields changed."""
    return Recipe.model_validate({**tiny.recipe.model_dump(), "learning_rate": 1.0, "steps": 8, **changes})


DROPS = {"at": (2, 3), "unit": "epoch", "factor": 0.5}
RAMP = {"length": 4, "unit": "step", "first": "zero"}
HALF = 0.5**0.5


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [1, 1, 1, 1, 1, 1, 1, 1]),
        ({"drops": DROPS}, [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25]),
        ({"drops": {**DROPS, "unit": "step"}}, [1, 1, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25]),
        ({"warm_up": RAMP}, [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]),
        ({"warm_up": {**RAMP, "first": "one-step"}}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ({"warm_up": {"length": 2, "unit": "epoch", "first": "zero"}}, [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]),
        ({"warm_up": RAMP, "drops": DROPS}, [0, 0.25, 0.5, 0.75, 0.5, 0.5, 0.25, 0.25]),
        (
            {"cosine": {"floor": 0.0, "per": "step", "spans": "all-steps"}, "steps": 4},
            [1, 0.5 + HALF / 2, 0.5, 0.5 - HALF / 2],
        ),
        (
            {"cosine": {"floor": 0.2, "per": "epoch", "spans": "all-steps"}},
            [1, 1, *[0.6 + 0.4 * HALF] * 2, 0.6, 0.6, *[0.6 - 0.4 * HALF] * 2],
        ),
        (
            {"cosine": {"floor": 0.0, "per": "step", "spans": "after-warm-up"}, "warm_up": RAMP},
            [0, 0.25, 0.5, 0.75, 1, 0.5 + HALF / 2, 0.5, 0.5 - HALF / 2],
        ),
    ],
)
def test_learning_rates_by_hand(tiny_protocol: Protocol, changes: Any, expected: list[float]) -> None:
    """Two updates an epoch; fine-tuning behind the recipe's last step keeps that step's rate."""
    recipe = recipe_of(tiny_protocol, **changes)
    assert learning_rates(recipe, 2, recipe.steps) == pytest.approx(expected, abs=1e-12)
    assert learning_rates(recipe, 2, recipe.steps + 3) == pytest.approx([*expected, *[expected[-1]] * 3], abs=1e-12)
    assert learning_rates(recipe, 2, 3) == pytest.approx(expected[:3], abs=1e-12)


@pytest.fixture
def dataset(tiny_path: Any) -> Dataset:
    """The synthetic points."""
    return load("synthetic", tiny_path.parent)


def initial(seed: int = 0) -> dict[str, Tensor]:
    """Weights of order one over the square root of the fan-in, biases too."""
    rng = torch.Generator().manual_seed(seed)
    return {n: torch.randn(p.shape, generator=rng) * 0.3 for n, p in Mlp(WIDTHS).named_parameters()}


def half() -> Masks:
    """About half of every weight matrix."""
    rng = torch.Generator().manual_seed(50)
    return {n: torch.rand(v.shape, generator=rng) < 0.5 for n, v in initial().items() if n.endswith("weight")}


def ran(tiny: Protocol, dataset: Dataset, recipe: Recipe, masks: Masks, snapshots: tuple[int, ...] = ()) -> Outcome:
    """One training of the small MLP."""
    replica = Replica(3, initial(), masks, split(dataset, 90, 3), recipe.steps, 0, snapshots)
    return train(
        [replica], TrainingSetup(lambda inputs: Mlp((inputs or 12, *WIDTHS[1:])), recipe, tiny.evaluation, dataset)
    )[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        {"momentum": 0.9, "weight_decay": 0.01, "drops": {"at": (5, 12), "unit": "step", "factor": 0.1}},
        {"momentum": 0.5, "nesterov": True, "warm_up": {"length": 9, "unit": "step", "first": "zero"}},
    ],
)
def test_sgd_is_its_recurrence(tiny_protocol: Protocol, dataset: Dataset, changes: Any) -> None:
    """v = m v + g; w -= rate * v, or rate * (g + m v) with Nesterov; g holds the decay. Masked entries stay zero."""
    recipe = recipe_of(tiny_protocol, **{"optimizer": "sgd", "learning_rate": 0.05, "steps": 20, **changes})
    masks, rows = half(), split(dataset, 90, 3)
    outcome = ran(tiny_protocol, dataset, recipe, masks, (1, 7, 20))
    weights = {n: (w * masks[n] if n in masks else w).clone().requires_grad_() for n, w in initial().items()}
    velocity = {n: torch.zeros_like(w) for n, w in weights.items()}
    rates = learning_rates(recipe, 8, 20)
    for step in range(20):
        order = rows.training[torch.randperm(310, generator=stream(3, "order", step // 8))]
        batch = order[step % 8 * 40 : step % 8 * 40 + 40]
        h = dataset.train_inputs[batch]
        for i in (1, 2, 3):
            h = h @ weights[f"fc{i}.weight"].T + weights[f"fc{i}.bias"]
            h = h.clamp(min=0) if i < 3 else h
        loss = -h.log_softmax(1)[torch.arange(len(batch)), dataset.train_labels[batch]].mean()
        gradients = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
        with torch.no_grad():
            for n, w in weights.items():
                g = gradients[n] * masks[n] if n in masks else gradients[n]
                g = g + recipe.weight_decay * w
                velocity[n] = recipe.momentum * velocity[n] + g
                w.sub_(rates[step] * (g + recipe.momentum * velocity[n] if recipe.nesterov else velocity[n]))
        if step + 1 in outcome.snapshots:
            for n, w in weights.items():
                assert torch.allclose(outcome.snapshots[step + 1][n], w, atol=2e-5), (step, n)
    assert not any(outcome.weights[n][~mask].any() for n, mask in masks.items())


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_pruned_weights_and_momentum_are_zero_at_every_step(
    tiny_protocol: Protocol, dataset: Dataset, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each of the updates, with Nesterov or Adam's two moments, weight decay and a moving learning rate."""
    extra: dict[str, Any] = {"momentum": 0.9, "nesterov": True} if optimizer == "sgd" else {}
    cosine = {"floor": 0.0, "per": "step", "spans": "all-steps"}
    recipe = recipe_of(
        tiny_protocol, optimizer=optimizer, learning_rate=0.05, weight_decay=0.1, cosine=cosine, steps=20, **extra
    )
    masks, seen = half(), []

    def watched(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
        update, by_shape = updating(optimizer), {p.shape: p for p in parameters_of(optimizer)}

        def updated() -> None:
            update()
            for mask in masks.values():
                parameter = by_shape[mask.shape]
                moments = [v for v in optimizer.state[parameter].values() if v is not None and v.shape == mask.shape]
                seen.append((len(moments), [float(t.detach()[~mask].abs().max()) for t in (parameter, *moments)]))

        return updated

    monkeypatch.setattr(one_update, "updating", watched)
    ran(tiny_protocol, dataset, recipe, masks)
    assert len(seen) == 20 * len(masks)
    assert {count for count, _ in seen} == {1 if optimizer == "sgd" else 2}
    assert all(largest == 0.0 for _, values in seen for largest in values)


def full() -> Masks:
    """Everything stays."""
    return {n: torch.ones(v.shape, dtype=torch.bool) for n, v in initial().items() if n.endswith("weight")}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_an_update_is_the_optimizers_own_step(tiny_protocol: Protocol, optimizer: str) -> None:
    """Bit for bit, with what torch wraps around a step left out."""
    extra: dict[str, Any] = {"momentum": 0.9, "nesterov": True} if optimizer == "sgd" else {}
    recipe = recipe_of(tiny_protocol, optimizer=optimizer, learning_rate=0.05, weight_decay=0.1, **extra)
    ours, theirs = (torch.linspace(-1, 1, 6).requires_grad_() for _ in range(2))
    one, other = make_optimizer(recipe, [ours]), make_optimizer(recipe, [theirs])
    update = updating(one)
    for number in range(5):
        ours.grad, theirs.grad = (torch.full((6,), 0.3 - 0.1 * number) for _ in range(2))
        update()
        other.step()
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours.detach(), torch.linspace(-1, 1, 6))


def test_training_leaves_torchs_compiler_out() -> None:
    """Importing it takes as long as importing torch, in every process that trains; nothing here is compiled."""
    code = (
        "import sys, torch\nfrom benchmark.protocols import load\n"
        "from benchmark.training.optim import make_optimizer, updating\n"
        "for name in ('lth/lenet-mnist', 'lth/vgg19-low-cifar10'):\n"
        "    weight = torch.ones(2, requires_grad=True)\n"
        "    update = updating(make_optimizer(load(name).recipe, [weight]))\n"
        "    weight.sum().backward()\n"
        "    update()\n"
        "    assert weight[0] < 1\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout == "False\n", done.stderr


def test_what_bf16_does_to_a_curve(tiny_protocol: Protocol, dataset: Dataset) -> None:
    """Its 8 bits of mantissa move every loss by up to a few percent, but not where the curve goes.

    Weights stay float32: updates far below bf16's resolution are not lost.
    """
    fields = {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9, "steps": 40}
    exact, coarse = (
        ran(tiny_protocol, dataset, recipe_of(tiny_protocol, **fields, precision=p), full()) for p in ("fp32", "bf16")
    )
    pairs = list(zip(exact.history.validation, coarse.history.validation, strict=True))
    ratios = [abs(c.loss / e.loss - 1) for e, c in pairs]
    assert all(1e-6 < ratio < 0.05 for ratio in ratios)
    assert exact.history.validation[-1].loss < 0.7 * exact.history.validation[0].loss
    assert coarse.history.validation[-1].loss < 0.7 * coarse.history.validation[0].loss
    assert all(w.dtype == torch.float32 for w in coarse.weights.values())
    assert not torch.equal(coarse.weights["fc2.weight"].bfloat16().float(), coarse.weights["fc2.weight"])


def test_tf32_is_fp32_on_a_cpu_and_records_say_so(tiny_protocol: Protocol, dataset: Dataset) -> None:
    exact, same = (ran(tiny_protocol, dataset, recipe_of(tiny_protocol, precision=p), half()) for p in ("fp32", "tf32"))
    assert all(torch.equal(exact.weights[n], same.weights[n]) for n in exact.weights)
    assert described("tf32") == "fp32 (tf32 asked, which cpu has not)"
    assert (described("tf32", "cuda"), described("bf16"), described("fp32")) == ("tf32", "bf16", "fp32")


class Dropping(Mlp):
    """The MLP with dropout behind its first layer."""

    def __init__(self, widths: Any) -> None:
        super().__init__(widths)
        self.drop = Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(torch.relu(self.get_submodule("fc1")(x.flatten(1))))
        h = torch.relu(self.get_submodule("fc2")(h))
        logits: Tensor = self.get_submodule("fc3")(h)
        return logits


def test_dropout_keeps_its_share_and_the_mean() -> None:
    """Of all units, of every row and of every column; other words or another layer are another draw."""
    layer, other, x = Dropout(0.3), Dropout(0.3), torch.full((400, 500), 2.0)
    assert layer(x) is x
    words = torch.tensor([12345, 2**32 - 1])
    give_words([layer, other], words)
    dropped = layer(x)
    assert sorted(dropped.unique().tolist()) == pytest.approx([0.0, 2.0 / 0.7])
    gone = (dropped == 0).double()
    assert float(gone.mean()) == pytest.approx(0.3, abs=5 * (0.21 / 200_000) ** 0.5)
    for dim, count in ((0, 400), (1, 500)):
        shares = gone.mean(dim)
        assert float((shares - 0.3).abs().max()) < 5 * (0.21 / count) ** 0.5
        assert float(shares.var()) == pytest.approx(0.21 / count, rel=0.4)
    for different in (other(x), *(_dropped(layer, x, words ^ torch.tensor(bit)) for bit in ([1, 0], [0, 1]))):
        agreeing = float(((different == 0) == (dropped == 0)).double().mean())
        assert agreeing == pytest.approx(0.3**2 + 0.7**2, abs=5 * (0.25 / 200_000) ** 0.5)
    assert torch.equal(_dropped(layer, x, words), dropped)


def _dropped(layer: Dropout, x: Tensor, words: Tensor) -> Tensor:
    give_words([layer], words)
    found: Tensor = layer(x)
    return found


def test_dropout_of_a_replica_depends_on_its_seed_and_step_only(tiny_protocol: Protocol, dataset: Dataset) -> None:
    """Alone, in company, whatever torch's global generator did, and going on from a snapshot: the same bits."""
    recipe = recipe_of(tiny_protocol, optimizer="sgd", learning_rate=0.1, steps=20)
    rows = split(dataset, 90, 0)

    def go(*replicas: Replica) -> list[Outcome]:
        return train(
            list(replicas), TrainingSetup(lambda _: Dropping(WIDTHS), recipe, tiny_protocol.evaluation, dataset)
        )

    first, second = (Replica(seed, initial(), full(), rows, 20, 0, (11,)) for seed in (0, 1))
    torch.manual_seed(1)
    alone = go(first)[0]
    torch.manual_seed(2)
    other, again = go(second, first)
    rest = go(Replica(0, alone.snapshots[11], full(), rows, 20, 11))[0]
    plain = ran(tiny_protocol, dataset, recipe, full())
    for outcome in (again, rest):
        assert all(torch.equal(alone.weights[n], outcome.weights[n]) for n in alone.weights)
    assert not torch.equal(alone.weights["fc2.weight"], other.weights["fc2.weight"])
    assert not torch.equal(alone.weights["fc2.weight"], plain.weights["fc2.weight"])
    module = Dropping(WIDTHS)
    module.load_state_dict(alone.weights)
    assert dropouts(module)[0].words is None
    loss = torch.nn.functional.cross_entropy(module(dataset.test_inputs), dataset.test_labels)
    assert alone.history.test[-1].loss == pytest.approx(float(loss.detach()), rel=1e-5)  # evaluated without dropout
