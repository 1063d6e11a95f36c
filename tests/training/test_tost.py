"""ToST: the network that comes out is the plain one; ghosts, labels and rescaling against slow references; resuming."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from acting_hooks import Stop, stop_at
from replica_groups import NETWORKS, augmented, recipe_of, replicas_of
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, silu

from baselines.tost import GhostNetwork, Scales, ToST, averaged, smoothed
from benchmark.api import Run
from benchmark.networks import make
from benchmark.networks.mlp import Mlp
from benchmark.protocols import Protocol
from benchmark.protocols.recipe import EvaluationSpec
from benchmark.training.checkpoint import CheckpointFile
from benchmark.training.evaluate import measure
from benchmark.training.loop import Placement, train
from benchmark.training.replicas import CLASSIFICATION, Outcome, TrainingSetup
from benchmark.utils.errors import BadInput
from benchmark.utils.seeding import stream

PARTS: dict[str, dict[str, Any]] = {
    "activation": {"activation": "swish"},
    "skip": {"skip": 1.0},
    "rescale": {"rescale": 1},
    "smoothing": {"smoothing": 0.1},
    "all": {"activation": "mish", "skip": 0.5, "rescale": 1, "smoothing": 0.1},
}


class Watched(ToST):
    """Keeps the network and the loss as it leaves them."""

    def at(self, step: int, run: Run) -> None:
        super().at(step, run)
        self.left = run.network, run.loss
        self.alphas = [*getattr(self, "alphas", []), getattr(run.network, "alpha", 0.0)]


def trained(
    tiny: Protocol,
    hook: ToST | None,
    name: str = "conv-2",
    files: Any = (),
    progress: Any = None,
    placement: Any = None,
) -> Outcome:
    """Eight updates of four an epoch; ghosts go after four."""
    when = EvaluationSpec.model_validate({**tiny.evaluation.model_dump(), "every": 1, "test_every": 8})
    setup = TrainingSetup(lambda _: make(NETWORKS[name]), recipe_of(tiny, learning_rate=0.02), when, augmented())
    replica = replicas_of(name, 1)[0]
    return train([replica], setup, progress, placement, files, None if hook is None else lambda _: [hook])[0]


@pytest.fixture(scope="module")
def plain(tiny_protocol: Protocol) -> Outcome:
    """Trained with no hook."""
    return trained(tiny_protocol, None)


@pytest.mark.parametrize("part", PARTS)
def test_the_final_network_is_the_plain_one(tiny_protocol: Protocol, plain: Outcome, part: str) -> None:
    """The same class, parameters and mask; its test loss, as it was measured when training had ended, is to the bit
    that of a new network of the protocol with the weights that came out. And the part has changed the training."""
    hook = Watched(**PARTS[part], every=2)
    outcome = trained(tiny_protocol, hook)
    fresh, data = make(NETWORKS["conv-2"]), augmented()
    assert type(hook.left[0]) is type(fresh)
    assert {n: p.shape for n, p in outcome.weights.items()} == {n: p.shape for n, p in fresh.state_dict().items()}
    fresh.load_state_dict(outcome.weights)
    fresh.eval()
    again = measure(fresh, data.test_inputs, data.test_labels, CLASSIFICATION, data.prepare)
    assert outcome.history.test[-1]["loss"] == float(again[0])
    with torch.no_grad():
        inputs = data.prepare(data.test_inputs)
        assert torch.equal(fresh(inputs), hook.left[0].eval()(inputs))
    for name, mask in replicas_of("conv-2", 1)[0].masks.items():
        assert not outcome.weights[name][~mask].any()
    assert not torch.equal(plain.weights["conv1.weight"], outcome.weights["conv1.weight"])
    assert bool(outcome.hook_facts) == (part in ("rescale", "all"))


def test_skips_fall_to_nothing(tiny_protocol: Protocol) -> None:
    hook = Watched(skip=1.0, every=1)
    trained(tiny_protocol, hook)
    assert hook.alphas == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_ghosts_of_a_fully_connected_network() -> None:
    """Against the sum written out; in evaluation there is none."""
    torch.manual_seed(0)
    plain = Mlp((6, 5, 4, 4, 3))
    ghost = GhostNetwork(plain, "swish", ["fc2.weight", "fc3.weight"], 0.5)
    x = torch.randn(2, 6)
    w = {n: p.detach() for n, p in plain.named_parameters()}
    h = silu(x @ w["fc1.weight"].T + w["fc1.bias"])
    # Of five units to four, the adaptive average of unit i is over floor(5 i / 4) to ceil(5 (i + 1) / 4).
    four = torch.stack([h[:, 0:2].mean(1), h[:, 1:3].mean(1), h[:, 2:4].mean(1), h[:, 3:5].mean(1)], 1)
    h = silu(h @ w["fc2.weight"].T + w["fc2.bias"] + 0.5 * four)
    h = silu(h @ w["fc3.weight"].T + w["fc3.bias"] + 0.5 * h)
    expected = h @ w["fc4.weight"].T + w["fc4.bias"]
    assert torch.allclose(ghost.train()(x), expected, atol=1e-6)
    assert torch.equal(ghost.eval()(x), plain(x))
    assert [*ghost.state_dict()] == [*plain.state_dict()]
    assert all(ghost.get_parameter(n) is p for n, p in plain.named_parameters())
    copied = deepcopy(ghost.train()).double()
    assert torch.allclose(copied(x.double()).float(), expected, atol=1e-6)
    assert plain.get_parameter("fc1.weight").dtype == torch.float32


def test_averages_over_channels_rows_and_columns() -> None:
    x = torch.arange(2 * 4 * 6 * 6.0).reshape(2, 4, 6, 6)
    found = averaged(x, torch.Size((2, 3, 2)))
    assert torch.allclose(found, x.reshape(2, 2, 2, 3, 2, 2, 3).mean((2, 4, 6)))


def test_smoothed_labels_by_hand() -> None:
    logits, labels = torch.tensor([[1.0, 2.0, 0.5, -1.0]]), torch.tensor([1])
    logs = logits[0].double().log_softmax(0)
    expected = -(0.9 * logs[1] + 0.1 / 3 * (logs[0] + logs[2] + logs[3]))
    assert float(smoothed(cross_entropy, 0.1)(logits, labels)) == pytest.approx(float(expected))
    with pytest.raises(ValueError, match="classification"):
        smoothed(lambda outputs, labels: outputs.sum() + labels.sum(), 0.1)


class Looking(Watched):
    """Keeps the batches to come, at its last step."""

    def at(self, step: int, run: Run) -> None:
        super().at(step, run)
        self.next = [run.batch()] + [run.coming(ahead) for ahead in range(11)]


def test_batches_to_come(tiny_protocol: Protocol) -> None:
    """Five an epoch, the last one of fewer examples; behind the last comes the first; asking changes no training."""
    hook = Looking(smoothing=0.1)
    outcome, again = trained(tiny_protocol, hook), trained(tiny_protocol, ToST(smoothing=0.1))
    assert all(torch.equal(outcome.weights[name], again.weights[name]) for name in again.weights)
    now, *coming = hook.next  # after four updates: the last batch of the first epoch
    assert [len(labels) for _, labels in coming] == [6, 16, 16, 16, 16, 6, 16, 16, 16, 16, 6]
    assert all(torch.equal(a, b) for a, b in zip(now, coming[0], strict=True))
    assert all(torch.equal(coming[k][0], coming[k + 5][0]) for k in range(6))
    assert sum(len(x.flatten(1).unique(dim=0)) for x, _ in coming[:5]) == 70


class Tiny(nn.Module):
    """tanh between two matrices, in float64."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(3)
        self.first = nn.Parameter(scale * torch.randn(5, 4, generator=rng).double())
        self.bias = nn.Parameter(torch.zeros(5).double())
        self.second = nn.Parameter(scale * torch.randn(3, 5, generator=rng).double())

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.first.T + self.bias) @ self.second.T


@pytest.mark.parametrize("scale", [0.3, 4.0])
def test_rescaling_goes_down_its_objective(scale: float) -> None:
    """Adam's first step is the rate, against the sign of the slope: here by finite differences of the objective, once
    on the side where the gradient is short enough and once where it is not. Pruned weights take no part."""
    network, rng = Tiny(scale), torch.Generator().manual_seed(0)
    mask = torch.rand(5, 4, generator=rng) < 0.6
    network.first.data *= mask
    batches = [(torch.randn(8, 4, generator=rng).double(), torch.randint(3, (8,), generator=rng)) for _ in range(2)]
    run = Run(network, {"first": mask}, {}, cross_entropy, lambda: batches[0], lambda p: stream(0, p),
              coming=lambda ahead: batches[ahead])  # fmt: skip

    def objective(factors: dict[str, float]) -> float:
        weights = {n: (factors[n] * p.detach()).requires_grad_() for n, p in network.named_parameters()}
        loss = cross_entropy(torch.func.functional_call(network, weights, (batches[0][0],)), batches[0][1])
        grads = dict(zip(weights, torch.autograd.grad(loss, [*weights.values()]), strict=True))
        grads["first"] = grads["first"] * mask
        norm = sum(float((g**2).sum()) for g in grads.values()) ** 0.5
        assert (norm > 1) == (scale > 1)
        if norm > 1:
            return norm
        moved = {n: (w - 0.1 * grads[n] / norm).detach() for n, w in weights.items()}
        inputs = torch.cat([batches[0][0][:4], batches[1][0][4:]])
        labels = torch.cat([batches[0][1][:4], batches[1][1][4:]])
        return float(cross_entropy(torch.func.functional_call(network, moved, (inputs,)), labels))

    ones, scales = dict.fromkeys(("first", "bias", "second"), 1.0), Scales(1)
    found = scales.learned(run)
    for name in ("first", "second"):
        slope = objective({**ones, name: 1 + 1e-5}) - objective({**ones, name: 1 - 1e-5})
        assert found[name] == pytest.approx(1.01 if slope < 0 else 0.99, abs=1e-6)
    assert found["bias"] == 1.0  # a factor of zeros changes nothing
    assert (scales.forward_passes, scales.backward_passes, scales.examples) == ((1, 3, 8) if scale > 1 else (2, 4, 16))


def test_killed_and_resumed(tiny_protocol: Protocol, tmp_path: Path) -> None:
    """With ghosts about, and after they have gone."""
    whole = trained(tiny_protocol, ToST(**PARTS["all"], every=2))
    files = [CheckpointFile(tmp_path / "c", tmp_path / "work", "replica", 0.0)]
    for dies in (3, 6, None):
        if dies is None:
            resumed = trained(tiny_protocol, ToST(**PARTS["all"], every=2), files=files)
        else:
            with pytest.raises(Stop):
                trained(tiny_protocol, ToST(**PARTS["all"], every=2), files=files, progress=stop_at(dies))
    assert all(torch.equal(whole.weights[name], resumed.weights[name]) for name in whole.weights)
    assert whole.hook_facts == resumed.hook_facts


def test_what_it_cannot_do(tiny_protocol: Protocol) -> None:
    for wrong in ({"until": 1.0}, {"activation": "tanh"}, {"smoothing": 1.0}):
        with pytest.raises(ValueError, match=r"until|activation"):
            ToST(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no update is left"):
        ToST(until=0.99).when(recipe_of(tiny_protocol), 4)
    with pytest.raises(BadInput, match="Use streams"):
        trained(tiny_protocol, ToST(skip=1.0), placement=Placement("cpu", "stacked"))
    resnet = trained(tiny_protocol, ToST(**{**PARTS["all"], "rescale": 0}), "resnet-20")
    assert resnet.failure is None
