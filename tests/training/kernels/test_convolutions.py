"""LeNet-5 by the kernels: what torch computes, the same bits in both forms, for every target, alone or resumed.

Compiling takes half a minute once, so what needs it is in `make test-long`; no locked protocol rests on it yet.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from acting_hooks import Stop, stop_at
from compiled_targets import TARGETS, compiled_for, features_here, tell
from float64_training import batches_of, in_float64, member_of
from mlp_training import RECIPES, data, digest, lenet5, recipe, replica, setup
from torch.nn.functional import cross_entropy

from benchmark.networks import make
from benchmark.protocols.network import LeNet5Spec
from benchmark.training.checkpoint import CheckpointFile
from benchmark.training.kernels import image_layout, layout
from benchmark.training.loop import train
from benchmark.training.replicas import masked_start
from benchmark.utils.errors import BadInput

# Odd images, whose last rows and columns no max-pool reads; several channels; 6 of them, which fours do not divide.
SPECS = [lenet5("lenet-5", 2, 19, 18), lenet5("lenet-5-caffe", 1, 16, 16, relu=False)]
DENSITIES = [1.0, 0.6, 0.1]
OTHER = {"adam": {"learning_rate": 0.001, "weight_decay": 0.0}}
BATCH = 30  # two groups, the second not full

GOLDEN = {
    "dense": "7cd957e0b2dce3df",
    "masked": "3ca2133db35e37dc",
    "sparse": "3ed3dd1211c668f3",
    "test_loss": "0x1.2773a51e5e31fp+1",
}
"""What every machine gives; change it only together with `engine.REVISION`."""


def trained() -> dict[str, str]:
    """Digests of three trainings, and a loss to its last bit."""
    found = {}
    for name, density in (("dense", 1.0), ("masked", 0.6), ("sparse", 0.2)):
        outcome = train([replica(SPECS[0], density, last=8)], setup(SPECS[0], recipe(BATCH, steps=8)))[0]
        found[name] = digest(outcome.weights)
        found["test_loss"] = float(outcome.history.test[-1].loss).hex()
    return found


def main() -> None:
    """Print digests and which registers the machine code uses; with an argument, only compile."""
    from benchmark.training.kernels import image_program

    tell(image_program.train, trained)


@pytest.mark.long
def test_they_are_what_every_machine_gives() -> None:
    assert trained() == GOLDEN


@pytest.mark.long
@pytest.mark.skipif("avx2" not in features_here(), reason="needs a processor that runs what is compiled for others")
@pytest.mark.parametrize("target", TARGETS)
def test_every_target_gives_them(target: str, tmp_path: Path) -> None:
    """Compiled for processors with AVX-512, with AVX2, and without fused multiply-add; the machine code differs."""
    assert compiled_for(target, __file__, tmp_path) == GOLDEN


@pytest.mark.long
@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_gradients_are_torchs(spec: LeNet5Spec, density: float) -> None:
    """Plain SGD of rate 1 moves weights by their gradient."""
    fields = {**RECIPES["sgd"], "learning_rate": 1.0}
    one = replica(spec, density)
    member = member_of(one, spec, batch=BATCH, **fields)
    expected = in_float64(spec, one, fields, batches_of(member, 1))
    before, start = member.state(), masked_start(one)
    member.updates(0, 1)
    for name, tensor in member.state().items():
        gradient, exact = before[name].double() - tensor, start[name].double() - expected[name]
        assert (gradient - exact).abs().max() < 1e-6 * max(1.0, float(exact.abs().max())), name
        assert exact.abs().max() > 1e-4 or density < 0.5


@pytest.mark.long
@pytest.mark.parametrize("kind", ["momentum", "adam"])
@pytest.mark.parametrize("density", [1.0, 0.3])
def test_a_hundred_updates_are_torchs(density: float, kind: str) -> None:
    """By Adam at a usual rate and without decay: it moves a weight whose filter is dead by the sign of what decay and
    rounding leave of it, in any arithmetic."""
    spec, fields = SPECS[0], {**RECIPES[kind], **OTHER.get(kind, {})}
    one = replica(spec, density, last=100)
    member = member_of(one, spec, batch=BATCH, steps=100, **fields)
    batches = batches_of(member, 100)
    member.updates(0, 100)
    expected = in_float64(spec, one, fields, batches)
    for name, tensor in member.state().items():
        assert (tensor - expected[name]).abs().max() < 2e-5 * max(1.0, float(expected[name].abs().max())), name
        assert not tensor[~one.masks[name]].any()


@pytest.mark.long
def test_metrics_are_the_tasks() -> None:
    outcome = train([replica(SPECS[1], 0.6)], setup(SPECS[1]))[0]
    module, examples = make(SPECS[1]).double(), data(SPECS[1])
    module.load_state_dict(outcome.weights)
    logits = module(examples.test_inputs.double()).detach()
    assert outcome.history.test[-1].loss == pytest.approx(float(cross_entropy(logits, examples.test_labels)), rel=1e-6)
    right = 100 * (logits.argmax(1) == examples.test_labels).double().mean()
    assert outcome.history.test[-1]["accuracy"] == pytest.approx(float(right))


@pytest.mark.long
@pytest.mark.parametrize(("density", "batch"), [(1.0, 1), (0.6, 25), (0.05, 60), (0.05, 8)])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_both_forms_agree(spec: LeNet5Spec, density: float, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By surviving weights or densely, whatever the mask and however the batch fills groups and lanes."""
    found = set()
    one = replica(spec, density, last=4)
    for dense_from in (0.0, 2.0):
        monkeypatch.setattr(image_layout, "DENSE_FROM", dense_from)
        monkeypatch.setattr(layout, "DENSE_FROM", dense_from)
        outcome = train([one], setup(spec, recipe(batch, steps=4)))[0]
        assert outcome.failure is None
        found.add((digest(outcome.weights), outcome.history.test[-1].loss, outcome.history.validation[-1].loss))
    assert len(found) == 1


@pytest.mark.long
def test_resumed_or_in_company_is_uninterrupted(tmp_path: Path) -> None:
    spec, how = SPECS[0], recipe(BATCH, steps=20)
    several = [replica(spec, density, seed, last=20) for seed, density in enumerate((1.0, 0.2))]
    whole = [train([one], setup(spec, how))[0] for one in several]
    together = train(several, setup(spec, how))
    assert [digest(each.weights) for each in together] == [digest(each.weights) for each in whole]
    file = CheckpointFile(tmp_path / "checkpoint", tmp_path, "this", 0)
    with pytest.raises(Stop):
        train(several[1:], setup(spec, how), stop_at(15), None, [file])
    resumed = train(several[1:], setup(spec, how), None, None, [file])[0]
    assert digest(resumed.weights) == digest(whole[1].weights)
    assert resumed.history == whole[1].history


@pytest.mark.long
def test_the_least_that_masks_keep() -> None:
    """Nothing at all stays a network; a weight for each tensor learns."""
    spec = SPECS[0]
    one = replica(spec, last=5)
    masks = {name: torch.zeros_like(mask) for name, mask in one.masks.items()}
    nothing = train([replace(one, masks=masks)], setup(spec, recipe(steps=5)))[0]
    assert not any(tensor.any() for tensor in nothing.weights.values())
    for mask in masks.values():
        mask.view(-1)[-1] = True
    outcome = train([replace(one, masks=masks)], setup(spec, recipe(steps=5)))[0]
    assert all(int(tensor.count_nonzero()) <= 1 for tensor in outcome.weights.values())
    assert outcome.weights["head.fc3.bias"][-1] != one.start["head.fc3.bias"][-1]


@pytest.mark.long
@pytest.mark.parametrize("dense_from", [0.0, 2.0])
@pytest.mark.parametrize("value", [1e30, float("nan")])
def test_weights_that_overflow_are_noticed(value: float, dense_from: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """nan passes every max-pool."""
    monkeypatch.setattr(image_layout, "DENSE_FROM", dense_from)
    one = replica(SPECS[0], 0.8)
    start = {name: tensor * value if "conv" in name else tensor for name, tensor in one.start.items()}
    outcome = train([replace(one, start=start)], setup(SPECS[0]))[0]
    assert outcome.failure == "diverged: the loss is not finite after 0 updates"


def test_other_networks_are_refused() -> None:
    from benchmark.training.kernels.group import shape_of

    with pytest.raises(BadInput, match="Linear: is no network that the portable kernels train"):
        shape_of(torch.nn.Linear(2, 2))


def test_multiply_adds_are_the_specs() -> None:
    from benchmark.training.kernels.group import shape_of

    assert sum(shape_of(make(SPECS[0])).multiply_adds) == SPECS[0].multiply_adds


if __name__ == "__main__":
    main()
