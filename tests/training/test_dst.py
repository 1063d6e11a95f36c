"""DST: its surrogate slope by hand, its updates against a slow loop of scalars, what it leaves, resuming, and trained
parameters of hooks in general."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

import pytest
import torch
from acting_hooks import Stop, stop_at
from mlp_training import RECIPES, network, replica, setup
from mlp_training import recipe as recipe_of
from torch import Tensor, nn

from baselines.dst import Dst, ThresholdedNetwork, above, step
from benchmark.api import Hook, Recipe, Run
from benchmark.networks.mlp import Mlp
from benchmark.training.checkpoint import CheckpointFile
from benchmark.training.extra import ExtraParameters
from benchmark.training.loop import Placement, train
from benchmark.training.replicas import Outcome, Replica
from benchmark.utils.errors import BadInput

SPEC = network(12, 20, 4)
NAMES = ("fc1.weight", "fc2.weight")
SGD = {**RECIPES["momentum"], "learning_rate": 0.05, "arithmetic": "torch", "drops": None, "weight_decay": 0.0}


def begun(seed: int = 0) -> Replica:
    """Every weight of both matrices may be masked; 30 updates, 7 an epoch."""
    one = replica(SPEC, seed=seed, last=30)
    return replace(one, masks={name: torch.ones_like(one.start[name], dtype=torch.bool) for name in NAMES})


def trained(hook: Hook, how: Any = None, **arguments: Any) -> Outcome:
    return train([begun()], setup(SPEC, how or recipe_of(**SGD)), hooks=lambda _: [hook], **arguments)[0]


def slope(x: float) -> float:
    """H of Eq. 3."""
    return 2 - 4 * abs(x) if abs(x) <= 0.4 else 0.4 if abs(x) <= 1 else 0.0


def test_the_slope_is_long_tailed() -> None:
    x = torch.tensor([-2.0, -1.0, -0.7, -0.4, -0.1, 0.0, 0.25, 0.4, 0.5, 1.0, 1.01], dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    found = step(leaf)
    assert found.tolist() == [float(v > 0) for v in x.tolist()]
    (3 * found).sum().backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    assert leaf.grad.tolist() == pytest.approx([3 * slope(v) for v in x.tolist()], abs=1e-12)


def test_a_filter_of_a_convolution_is_a_row() -> None:
    weight = torch.arange(-8.0, 8.0).reshape(2, 2, 2, 2)
    threshold = torch.tensor([6.5, 2.0])
    flat = above(weight.flatten(1), threshold)
    assert torch.equal(above(weight, threshold), flat.reshape(2, 2, 2, 2))
    assert flat[0].tolist() == [1.5, 0.5, -0.5, -1.5, -2.5, -3.5, -4.5, -5.5]


def slow_gradients(
    weight: list[list[float]], threshold: list[float], upstream: list[list[float]], alpha: float
) -> tuple[list[list[float]], list[float]]:
    """Of one matrix, entry by entry: both branches of the weight's gradient, and the threshold's with its penalty."""
    of_weight, of_threshold = [], []
    for row, t, grads in zip(weight, threshold, upstream, strict=True):
        entries, sums = [], -alpha * exp(-t)
        for w, g in zip(row, grads, strict=True):
            q = abs(w) - t
            sign = (w > 0) - (w < 0)
            entries.append(g * (q > 0) + g * w * slope(q) * sign)  # performance gradient, structure gradient
            sums -= g * w * slope(q)
        of_weight.append(entries)
        of_threshold.append(sums)
    return of_weight, of_threshold


def test_gradients_are_those_of_a_loop_over_entries() -> None:
    """y = (W o M) x for one input; dL/d(W o M) is upstream x^T."""
    torch.manual_seed(0)
    plain = Mlp((5, 3, 2)).double()
    thresholds = {"fc1.weight": nn.Parameter(torch.tensor([0.1, -0.05, 0.3], dtype=torch.float64))}
    net = ThresholdedNetwork(plain, thresholds, 0.0, torch.zeros((), dtype=torch.int64))
    x, alpha = torch.randn(4, 5, dtype=torch.float64), 0.02
    hidden = list[Tensor]()
    plain.fc1.register_forward_hook(lambda _module, _inputs, output: (output.retain_grad(), hidden.append(output))[1])
    loss = net(x).square().sum() + alpha * torch.exp(-thresholds["fc1.weight"]).sum()
    loss.backward()
    assert hidden[0].grad is not None
    upstream = hidden[0].grad.T @ x
    weight = plain.fc1.weight
    of_weight, of_threshold = slow_gradients(
        weight.tolist(), thresholds["fc1.weight"].tolist(), upstream.tolist(), alpha
    )
    assert weight.grad is not None
    assert torch.allclose(weight.grad, torch.tensor(of_weight, dtype=torch.float64), atol=1e-12)
    grad = thresholds["fc1.weight"].grad
    assert grad is not None
    assert torch.allclose(grad, torch.tensor(of_threshold, dtype=torch.float64), atol=1e-12)
    assert plain.fc2.weight.grad is not None  # what has no threshold is trained as ever


def test_a_layer_that_keeps_too_little_gets_thresholds_of_zero() -> None:
    """At the share `floor`, not only below it; the other layer keeps its own."""
    plain = Mlp((4, 5, 2))
    with torch.no_grad():
        plain.fc1.weight.copy_(torch.arange(1.0, 21.0).reshape(5, 4))
    full, empty = nn.Parameter(torch.full((2,), 0.01)), nn.Parameter(torch.full((5,), 18.5))
    resets = torch.zeros((), dtype=torch.int64)
    net = ThresholdedNetwork(plain, {"fc1.weight": empty, "fc2.weight": full}, 0.1, resets)
    assert int(net.mask("fc1.weight").sum()) == 2  # 19 and 20 of twenty: a tenth
    with torch.no_grad():
        masked = net(torch.ones(1, 4))
        assert torch.equal(empty, torch.zeros(5))
        assert full.tolist() == pytest.approx([0.01, 0.01])
        assert int(resets) == 1
        assert int(net.mask("fc1.weight").sum()) == 20
        plain.fc2.weight.mul_(net.mask("fc2.weight"))
        assert torch.allclose(masked, plain(torch.ones(1, 4)))


def by_hand(hook: Dst, updates: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and thresholds after some updates, by an own loop of SGD with momentum over the same batches."""
    seen = Batches()
    trained(seen)
    one = begun()
    values = {name: one.start[name].clone() for name in one.start}
    values |= {f"t.{name}": torch.zeros(len(one.start[name])) for name in NAMES}
    velocity = {name: torch.zeros_like(value) for name, value in values.items()}
    for inputs, labels in seen.batches[:updates]:
        leaves = {name: value.clone().requires_grad_() for name, value in values.items()}

        def masked(name: str, leaves: dict[str, Tensor] = leaves) -> Tensor:
            q = leaves[name].abs() - leaves[f"t.{name}"][:, None]
            # S forward, H backward, written as a sum whose value is S and whose derivative is H's integral's.
            far = q.detach().abs()
            tail = torch.where(far <= 0.4, 2 - 4 * far, torch.where(far <= 1, 0.4 * torch.ones_like(far), 0 * far))
            return leaves[name] * ((q.detach() > 0).float() + tail * (q - q.detach()))

        hidden = torch.relu(inputs.flatten(1) @ masked("fc1.weight").T + leaves["fc1.bias"])
        logits = hidden @ masked("fc2.weight").T + leaves["fc2.bias"]
        low = torch.stack([torch.exp(-leaves[f"t.{name}"]).sum() for name in NAMES]).sum()
        (nn.functional.cross_entropy(logits, labels) + hook.alpha * low).backward()  # type: ignore[no-untyped-call]
        for name, leaf in leaves.items():
            assert leaf.grad is not None
            velocity[name] = SGD["momentum"] * velocity[name] + leaf.grad
            values[name] = values[name] - SGD["learning_rate"] * velocity[name]
    return {n: v for n, v in values.items() if n[:2] != "t."}, {n: values[f"t.{n}"] for n in NAMES}


class Batches(Hook):
    """Takes down every batch, and changes nothing."""

    moves_masks = False

    def __init__(self) -> None:
        self.batches = list[tuple[Tensor, Tensor]]()

    def when(self, recipe: Recipe, updates_per_epoch: int) -> Iterable[int]:  # noqa: ARG002
        return range(recipe.steps)

    def at(self, step: int, run: Run) -> None:  # noqa: ARG002
        inputs, labels = run.batch()
        self.batches.append((inputs.clone(), labels.clone()))


class Watched(Dst):
    """Keeps weights and thresholds as they are before the last act."""

    def at(self, step: int, run: Run) -> None:
        if step:
            self.thresholds = {n: t.detach().clone() for n, t in run.extra_parameters.items()}
            self.weights = {n: p.detach().clone() for n, p in run.network.named_parameters()}
        super().at(step, run)


@pytest.fixture(scope="module")
def went() -> tuple[Watched, Outcome]:
    """Trained with a penalty that is large enough to mask."""
    hook = Watched(alpha=0.02)
    return hook, trained(hook)


def test_a_training_is_that_of_a_loop_by_hand(went: tuple[Watched, Outcome]) -> None:
    hook, outcome = went
    weights, thresholds = by_hand(hook, 30)
    for name in NAMES:
        assert torch.allclose(hook.thresholds[f"threshold.{name}"], thresholds[name], atol=1e-5)
        assert torch.allclose(hook.weights[name], weights[name], atol=1e-5)
    assert outcome.masks is not None
    for name, mask in outcome.masks.items():
        assert torch.equal(mask, hook.weights[name].abs() > hook.thresholds[f"threshold.{name}"][:, None])


def test_what_comes_out_is_the_plain_network_under_the_mask(went: tuple[Watched, Outcome]) -> None:
    """Masked entries are zero, though they were trained; the last counts are the mask's; the share is an outcome."""
    hook, outcome = went
    assert outcome.masks is not None
    assert hook.left[-1] == [int(outcome.masks[name].sum()) for name in NAMES]
    assert len(hook.left) == 5  # of 7 updates four times, and the end
    assert 0 < sum(hook.left[-1]) < 320
    assert sorted(outcome.weights) == sorted(begun().start)
    for name, mask in outcome.masks.items():
        assert torch.equal(outcome.weights[name], hook.weights[name] * mask)
        assert hook.weights[name][~mask].any()
    harder = Watched(alpha=0.05)
    trained(harder)
    assert sum(harder.left[-1]) < sum(hook.left[-1])


def test_a_resumed_training_has_the_bits_of_one_that_was_not_stopped(
    went: tuple[Watched, Outcome], tmp_path: Path
) -> None:
    """Thresholds with their momentum come from the checkpoint."""
    file = CheckpointFile(tmp_path / "at.safetensors", tmp_path, "of", 0.0)
    with pytest.raises(Stop):
        trained(Watched(alpha=0.02), progress=stop_at(20), checkpoints=[file])
    again = Watched(alpha=0.02)
    outcome = trained(again, checkpoints=[file])
    assert outcome.steps == 30
    assert again.left == went[0].left
    assert all(torch.equal(outcome.weights[name], went[1].weights[name]) for name in outcome.weights)
    assert all(torch.equal(t, went[0].thresholds[name]) for name, t in again.thresholds.items())


class Brings(Hook):
    """A parameter of its own, for a while: the loss pulls it to 1."""

    moves_masks = False

    def __init__(self, leaf: Tensor) -> None:
        self.leaf, self.first = leaf, leaf.detach().clone()

    def when(self, recipe: Recipe, updates_per_epoch: int) -> Iterable[int]:  # noqa: ARG002
        return (3, 9, recipe.steps)

    def at(self, step: int, run: Run) -> None:
        if step == 3:
            plain = run.loss
            run.extra_parameters["pulled"] = self.leaf
            run.loss = lambda outputs, labels: plain(outputs, labels) + (self.leaf - 1).square().sum()
        elif step == 9:
            self.then = self.leaf.detach().clone()
            del run.extra_parameters["pulled"]


def test_a_parameter_is_trained_as_long_as_a_hook_brings_it() -> None:
    """Six updates of SGD with momentum from 0; the network's own training does not notice."""
    hook = Brings(nn.Parameter(torch.zeros(2)))
    outcome = trained(hook)
    value, velocity = 0.0, 0.0
    for _ in range(6):
        velocity = SGD["momentum"] * velocity + 2 * (value - 1)
        value -= SGD["learning_rate"] * velocity
    assert hook.then.tolist() == pytest.approx([value, value], rel=1e-6)
    assert torch.equal(hook.leaf, hook.then)
    plain = trained(Batches())
    assert all(torch.equal(outcome.weights[name], plain.weights[name]) for name in plain.weights)


def test_where_a_hook_cannot_bring_parameters() -> None:
    with pytest.raises(BadInput, match="no leaf that requires a gradient"):
        trained(Brings(torch.zeros(2)))
    with pytest.raises(BadInput, match="Use streams"):
        trained(Brings(nn.Parameter(torch.zeros(2))), placement=Placement("cpu", "stacked"))
    with pytest.raises(BadInput, match="use torch's"):
        trained(Brings(nn.Parameter(torch.zeros(2))), recipe_of(**{**SGD, "arithmetic": "portable"}))


def test_what_nobody_brings_waits_in_checkpoints() -> None:
    """As in the harness's process, where somebody else's hook trains in another one: handed on bit for bit."""
    there, here = (torch.optim.SGD([nn.Parameter(torch.ones(3))], lr=0.1, momentum=0.9) for _ in range(2))
    leaf = nn.Parameter(torch.tensor([1.0, 2.0]))
    brought, waiting = (ExtraParameters(each, {}) for each in (there, here))
    assert brought.train({"t.a": leaf})
    assert not brought.train({"t.a": leaf})
    leaf.grad = torch.tensor([3.0, -1.0])
    there.step()
    saved = brought.saved()
    assert sorted(saved) == ["extra.t.a", "memory.momentum_buffer.t.a"]
    waiting.restore(saved)
    assert not waiting.train({})
    assert all(torch.equal(tensor, saved[name]) for name, tensor in waiting.saved().items())
    again = nn.Parameter(torch.zeros(2))
    waiting.train({"t.a": again})
    assert torch.equal(again, leaf)
    assert torch.equal(here.state[again]["momentum_buffer"], torch.tensor([3.0, -1.0]))
    waiting.train({})
    assert waiting.saved() == {}
    assert again not in here.state


def test_hyper_parameters_that_are_none() -> None:
    for wrong in ({"alpha": -1.0}, {"floor": 1.0}):
        with pytest.raises(ValueError, match="below"):
            Dst(**wrong)
