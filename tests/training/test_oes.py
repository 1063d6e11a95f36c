"""OES: gates and divergence against the formulas of the released code, exact counts, and that masks are learned."""

from __future__ import annotations

import pytest
import torch
from tiny_denoising import denoising
from torch import Tensor

from baselines.oes import OptimalEyeSurgeon, divergence
from baselines.snip_of_task import SnipOfTask
from benchmark.datasets.dataset import Examples, Split, prepared
from benchmark.datasets.source import data_root
from benchmark.harness.start import initial_weights, untrained
from benchmark.protocols import Protocol, parse
from benchmark.protocols.protocol import with_shapes
from benchmark.pruning.masks import full_masks
from benchmark.pruning.scorer import DirectScorer, ScoredNetwork
from benchmark.tasks import load_task
from benchmark.training.loop import train
from benchmark.training.replicas import Outcome, Replica, TrainingSetup


def test_a_gate_is_the_softmax_of_the_released_code() -> None:
    """Of two values, 1 and 0, with probabilities s(p) and 1 - s(p): softmax((log probability + Gumbel) / T)."""
    rng = torch.Generator().manual_seed(0)
    p = torch.randn(500, generator=rng)
    gumbel = -torch.log(-torch.log(torch.rand(2, 500, generator=rng)))
    logs = torch.stack([p.sigmoid().log(), (1 - p.sigmoid()).log()])
    expected = torch.softmax((logs + gumbel) / 0.2, 0)[0]
    learner = OptimalEyeSurgeon()
    learner.noise = lambda _p: gumbel[0] - gumbel[1]  # type: ignore[method-assign]
    found = learner.mask({"w": p}, {"w": torch.ones(500, dtype=torch.bool)})["w"]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_noise_is_logistic_and_of_the_update() -> None:
    """Mean 0, variance pi^2 / 3; a function of the update's words, and none where nothing is trained."""
    p, learner = torch.zeros(100, 200), OptimalEyeSurgeon()
    assert not learner.noise(p).any()
    learner.words = torch.tensor([123456789, 4000000000])
    noise = learner.noise(p)
    assert abs(float(noise.mean())) < 0.065  # five standard errors
    assert float(noise.var()) == pytest.approx(torch.pi**2 / 3, rel=0.05)
    assert torch.equal(noise, learner.noise(p))
    learner.words = learner.words + 1
    for other in (learner.noise(p), noise.roll(1)):
        assert abs(float(torch.corrcoef(torch.stack([noise.flatten(), other.flatten()]))[0, 1])) < 0.036


def test_the_penalty_is_a_mean_divergence() -> None:
    """Against torch's distributions, and as the released sum of 3,008,867 entries times 1e-9."""
    p = torch.tensor([-3.0, 0.0, 2.0])
    bernoulli = torch.distributions.Bernoulli
    expected = torch.distributions.kl_divergence(bernoulli(logits=p), bernoulli(torch.tensor(0.05)))
    torch.testing.assert_close(divergence(p.sigmoid(), 0.05), expected, atol=1e-4, rtol=1e-4)
    learner = OptimalEyeSurgeon(kl=1e-9 * 3_008_867)
    learner.target = {("a", "b"): 10}
    scores = {"a": torch.zeros(150), "b": torch.zeros(50)}
    of_one = float(divergence(torch.tensor(0.5), 0.05))
    penalty = learner.penalty(scores)
    assert penalty is not None
    assert float(penalty) == pytest.approx(1e-9 * 3_008_867 * of_one, rel=1e-5)


def world(steps: int) -> tuple[Protocol, TrainingSetup, Replica]:
    protocol = parse(with_shapes(denoising(steps), "tests"), "tests")
    dataset = prepared(protocol, data_root())
    make = lambda _inputs: untrained(protocol)  # noqa: E731 - what a setup wants
    setup = TrainingSetup(make, protocol.recipe, protocol.evaluation, dataset, load_task(protocol.task))
    split = Split(torch.arange(1), torch.empty(0, dtype=torch.int64))
    return (
        protocol,
        setup,
        Replica(0, initial_weights(protocol, 0), full_masks(protocol.pruning.prunable), split, steps),
    )


def learned(steps: int, kl: float) -> tuple[Outcome, dict[str, Tensor], int]:
    protocol, setup, replica = world(steps)
    size = sum(protocol.pruning.tensor_sizes.values())
    learner = OptimalEyeSurgeon(kl=kl)
    learner.target = {tuple(protocol.pruning.prunable): round(0.3 * size)}
    (outcome,) = train([replica], setup, learners=lambda _: learner)
    assert outcome.masks is not None
    assert outcome.ranking is not None
    return outcome, outcome.masks, round(0.3 * size)


def test_a_mask_over_every_parameter_with_the_asked_count() -> None:
    """Batch norm and biases too; weights stay, and the highest logits over all tensors are kept."""
    outcome, masks, count = learned(20, 0.003)
    protocol, _, replica = world(20)
    assert list(masks) == list(dict(untrained(protocol).named_parameters()))
    assert sum(int(mask.sum()) for mask in masks.values()) == count
    assert outcome.ranking is not None
    kept = torch.cat([outcome.ranking[name][mask] for name, mask in masks.items()])
    gone = torch.cat([outcome.ranking[name][~mask] for name, mask in masks.items()])
    assert kept.min() >= gone.max()
    for name, mask in masks.items():
        assert torch.equal(outcome.weights[name], replica.start[name] * mask)


def test_the_divergence_closes_gates() -> None:
    """With a large weight the mean probability goes from 1/2 towards the density, 0.3."""
    outcome, masks, _ = learned(60, 10.0)
    assert outcome.ranking is not None
    logits = torch.cat([outcome.ranking[name].flatten() for name in masks])
    assert float(logits.sigmoid().mean()) == pytest.approx(0.37, abs=0.03)  # Adam at 0.01: 60 updates move by 0.6
    assert float((-torch.tensor(0.6)).sigmoid()) == pytest.approx(0.354, abs=1e-3)


def test_snip_of_the_task_is_the_slope_along_each_weight() -> None:
    """|dL / dc| at c = 1 for one weight at a time, by differences in float64; L the squared error of the image."""
    protocol, setup, replica = world(20)
    data = setup.dataset
    module = untrained(protocol).double()
    state = {name: t.double() if t.is_floating_point() else t for name, t in replica.start.items()}
    examples = Examples(data.train_inputs.double(), data.train_labels.double())
    names = tuple(protocol.pruning.prunable)
    subject = ScoredNetwork(module, state, data.input_shape, data.classes, task=protocol.task)
    scorer = DirectScorer(SnipOfTask(), "snip", names, subject, examples, torch.Generator())
    scores = scorer.scores(full_masks(protocol.pruning.prunable))

    def loss(name: str, place: int, factor: float) -> float:
        changed = state[name].clone()
        changed.view(-1)[place] *= factor
        outputs = torch.func.functional_call(module, state | {name: changed}, (examples.inputs,))
        return float(((outputs.sigmoid() - examples.labels) ** 2).mean())

    for name in ("down0a.weight", "up0_norm.weight", "final.bias"):
        slope = (loss(name, 1, 1 + 1e-5) - loss(name, 1, 1 - 1e-5)) / 2e-5
        assert float(scores[name].view(-1)[1]) == pytest.approx(abs(slope), rel=1e-4), name
