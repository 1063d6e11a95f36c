"""NEq and random freezing: the velocity by its sums, what stays frozen in a training, budgets, costs, resuming."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from acting_hooks import Stop, stop_at
from image_networks import COMMON, spec
from replica_groups import NETWORKS, augmented, recipe_of, replicas_of
from torch import Tensor, nn

from baselines.neq import FreezingNeurons, NEq, RandomFreezing, layers_of, similarity
from benchmark.api import Run
from benchmark.networks import make
from benchmark.protocols import Protocol
from benchmark.protocols.recipe import EvaluationSpec
from benchmark.training.checkpoint import CheckpointFile
from benchmark.training.loop import train
from benchmark.training.replicas import Outcome, TrainingSetup
from benchmark.utils.errors import BadInput
from benchmark.utils.seeding import stream

NAME = "resnet-20"
LOOKS = (2, 4, 6)


def run_of(network: nn.Module, images: Tensor) -> Run:
    held_out = images, torch.zeros(len(images), dtype=torch.int64)
    rng: Callable[[str], torch.Generator] = lambda purpose: stream(0, purpose)  # noqa: E731
    return Run(network, {}, {}, lambda outputs, _: outputs.mean(), lambda: held_out, rng, held_out=lambda: held_out)


def unrolled(changes: list[float], mu: float, velocity: str) -> float:
    """The newest velocity as a sum over all changes, newest last."""
    past = [mu**m * change for m, change in enumerate(reversed(changes))][1:]
    signs = [(-1) ** m if velocity == "printed" else -1 for m in range(1, len(changes))]
    return changes[-1] + sum(sign * part for sign, part in zip(signs, past, strict=True))


@pytest.mark.parametrize("velocity", ["printed", "released"])
def test_who_is_at_equilibrium(velocity: Any) -> None:
    """Rows of a matrix turn by known angles, so every cosine is known; the two velocities differ from the third on."""
    neurons, eps, mu = 40, 0.05, 0.5
    rng = torch.Generator().manual_seed(1)
    turns = 0.6 * torch.rand(7, neurons, generator=rng).double()
    network = nn.Linear(2, neurons, bias=False).double()
    run, hook = run_of(network, torch.eye(2).double()), NEq(1, "all", eps, mu, velocity, "set")
    seen = set[bool]()
    for look in range(7):
        angle = turns[: look + 1].sum(0)
        network.weight.data = 3.0 * torch.stack([angle.cos(), angle.sin()], 1)
        hook.at(look + 1, run)
        cosines = turns[1 : look + 1].cos()  # of each look since the second with the one before
        for neuron in range(neurons):
            phi = cosines[:, neuron].tolist()
            changes = [now - then for then, now in pairwise(phi)]
            still = bool(changes) and abs(unrolled(changes, mu, velocity)) <= eps
            assert bool(run.frozen["weight"][neuron].all()) == still
            seen.add(still)
    assert seen == {True, False}
    other = [0.2, -0.1, 0.3]
    assert unrolled(other, 0.5, "printed") != unrolled(other, 0.5, "released")
    assert unrolled(other[:2], 0.5, "printed") == unrolled(other[:2], 0.5, "released")


def test_similarity_in_images_and_over_all() -> None:
    rng = torch.Generator().manual_seed(0)
    now, then = (torch.randn(3, 2, 2, 2, generator=rng) for _ in range(2))

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    for neuron in range(2):
        pairs = [(now[i, neuron].flatten().tolist(), then[i, neuron].flatten().tolist()) for i in range(3)]
        by_image = sum(cosine(a, b) for a, b in pairs) / 3
        over_all = cosine([x for a, _ in pairs for x in a], [x for _, b in pairs for x in b])
        assert float(similarity(now, then, "image")[neuron]) == pytest.approx(by_image)
        assert float(similarity(now, then, "set")[neuron]) == pytest.approx(over_all)
    with pytest.raises(ValueError, match="needs similarity set"):
        NEq(layers="all")


def test_a_backward_pass_of_resnet_32() -> None:
    """The authors' 138.94 M are 2 (68,861,952 of convolutions + 640 of the last layer) and 2 for each of 303,104 units
    of batch norm, twice; those of batch norm are not counted here."""
    resnet = spec("resnet-32", **{**COMMON, "input": (3, 32, 32), "classes": 10, "shortcut": "zero-padding"})
    layers = layers_of(make(resnet), torch.zeros(1, 3, 32, 32))
    total = sum(layer.neurons * layer.multiply_adds for layer in layers.values())
    assert total == 68_861_952 + 640 == resnet.multiply_adds
    assert layers["stage2.block1.conv1"].parameters == (
        "stage2.block1.conv1.weight", "stage2.block1.bn1.weight", "stage2.block1.bn1.bias"
    )  # fmt: skip
    assert layers["fc"].parameters == ("fc.weight", "fc.bias")


class Watched(RandomFreezing):
    """Keeps what the network and its frozen entries are at every look, and one update later."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__(2, **parameters)
        self.met = list[tuple[dict[str, Tensor], dict[str, Tensor]]]()

    def at(self, step: int, run: Run) -> None:
        super().at(step, run)
        state = {name: value.detach().clone() for name, value in run.network.state_dict().items()}
        self.met.append((state, {name: where.clone() for name, where in run.frozen.items()}))


def trained(tiny: Protocol, hook: FreezingNeurons, files: Any = (), progress: Any = None) -> Outcome:
    """Eight updates of four an epoch, with momentum and weight decay."""
    when = EvaluationSpec.model_validate({**tiny.evaluation.model_dump(), "every": 1, "test_every": 8})
    setup = TrainingSetup(lambda _: make(NETWORKS[NAME]), recipe_of(tiny, learning_rate=0.05), when, augmented())
    replica = replace(replicas_of(NAME, 1)[0], last_step=8)
    return train([replica], setup, progress, None, files, lambda _: [hook])[0]


def test_frozen_rows_stay_to_the_bit(tiny_protocol: Protocol) -> None:
    """From look to look, momentum and weight decay included; the others move, and so do statistics of batch norm."""
    hook = Watched(share=0.5)
    outcome = trained(tiny_protocol, hook)
    states = [state for state, _ in hook.met] + [outcome.weights]
    assert len(hook.met) == len(LOOKS)
    for (before, frozen), after in zip(hook.met, states[1:], strict=True):
        for name, where in frozen.items():
            assert torch.equal(before[name][where], after[name][where])
            if not name.startswith("bn"):
                assert not torch.equal(before[name][~where], after[name][~where])
        assert "fc.weight" not in frozen
        assert not torch.equal(before["bn.running_mean"], after["bn.running_mean"])
    first, second = (frozen["stage1.block1.conv1.weight"] for _, frozen in hook.met[:2])
    assert not torch.equal(first, second)  # who is frozen is drawn anew


def test_the_control_freezes_as_many_by_layer_and_look(tiny_protocol: Protocol) -> None:
    """And so costs as much, of which the looks of NEq are not part."""
    rule, control = NEq(2, eps=0.02), RandomFreezing(2)
    trained(tiny_protocol, rule)
    control.parent_facts = rule.facts()
    trained(tiny_protocol, control)
    facts, own = dict(rule.facts()), control.facts()
    assert facts.pop("look_multiply_adds") == 3 * 20 * NETWORKS[NAME].multiply_adds
    assert own == facts
    counts = {name: count for name, count in facts.items() if name.startswith("frozen.")}
    assert len(counts) == 5 * len(LOOKS)
    assert all(count == 0 for name, count in counts.items() if not name.endswith("003"))
    assert 0 < sum(counts.values()) < 16 * 7 + 32 * 6 + 64 * 6
    layers = layers_of(make(NETWORKS[NAME]), torch.zeros(1, 3, 8, 8))
    saved = sum(2 * count * layers[n.split(".", 1)[1].rpartition(".")[0]].multiply_adds for n, count in counts.items())
    assert facts["backward_multiply_adds_full"] == 2 * NETWORKS[NAME].multiply_adds
    assert facts["backward_multiply_adds"] == pytest.approx(2 * NETWORKS[NAME].multiply_adds - saved * 2 / 8)


def test_killed_and_resumed(tiny_protocol: Protocol, tmp_path: Path) -> None:
    whole = trained(tiny_protocol, NEq(2, eps=0.02))
    for dies in (5, 7, None):
        files = [CheckpointFile(tmp_path / "c", tmp_path / "work", "replica", 0.0)]
        if dies is None:
            resumed = trained(tiny_protocol, NEq(2, eps=0.02), files)
        else:
            with pytest.raises(Stop):
                trained(tiny_protocol, NEq(2, eps=0.02), files, stop_at(dies))
    assert all(torch.equal(whole.weights[name], resumed.weights[name]) for name in whole.weights)
    assert whole.hook_facts == resumed.hook_facts


def test_without_held_out_images(tiny_protocol: Protocol) -> None:
    when = EvaluationSpec.model_validate(
        {**tiny_protocol.evaluation.model_dump(), "early_stop": "none", "test_at_validation_minima": False}
    )
    setup = TrainingSetup(lambda _: make(NETWORKS[NAME]), recipe_of(tiny_protocol), when, augmented())
    bare = replicas_of(NAME, 1)[0]
    bare = replace(bare, split=replace(bare.split, validation=bare.split.validation[:0]))
    with pytest.raises(BadInput, match=r"none are held out. Set data\.validation"):
        train([bare], setup, hooks=lambda _: [NEq(2)])
