"""What a pruner is told and may do in a round: density, fresh examples, recipe, derivatives of gradients, inner steps.

In this process and confined alike: each test that has `here` and `there` compares bits of both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from plugin_files import LEVEL, NETWORK, SMALL, method, subject
from pydantic import ValidationError
from torch import Tensor
from torch.nn.functional import cross_entropy

from baselines.prospr import ProsPr
from benchmark.api import Examples, Network, Pruner, Scores
from benchmark.plugins.load import from_file
from benchmark.plugins.registry import locate
from benchmark.plugins.sandbox.session import Session
from benchmark.plugins.sandbox.wire import Answer, Loaded
from benchmark.protocols import Protocol
from benchmark.protocols.levels import exponential_totals
from benchmark.pruning.masks import tensor_mask_digest
from benchmark.pruning.schedule import PruneCost, cut, score_once
from benchmark.pruning.scorer import DirectScorer, ScoredNetwork
from benchmark.records.masks import NestedMasks
from benchmark.utils.errors import BadPruner
from benchmark.utils.seeding import stream

NAMES = ("fc1.weight", "fc2.weight", "fc3.weight")


def examples(number: int = 1) -> Examples:
    return Examples(torch.randn(16, 12, generator=stream(number, "inputs")), torch.arange(16) % 4)


def told(protocol: Protocol) -> ScoredNetwork:
    return replace(subject(), recipe=protocol.recipe)


def direct(plugin: Pruner, network: ScoredNetwork) -> DirectScorer:
    return DirectScorer(plugin, "mine", NAMES, network, examples(), stream(0, "prune"), examples)


def both(folder: Path, protocol: Protocol, text: str, rounds: int = 3) -> tuple[PruneCost, list[str]]:
    """Costs and mask digests of a plugin here and confined, which must agree."""
    path = folder / "mine.py"
    path.write_text(text)
    spec, network, pruning = method(rounds=rounds), told(protocol), protocol.pruning
    plugin = from_file(path).make({})
    here, cost = cut(direct(plugin, network), spec, pruning, LEVEL)
    with Session(locate("mine", {"mine": path}), {}, SMALL) as session:
        session.begin(NETWORK, NAMES, network, examples(), stream(0, "prune"), examples)
        there, there_cost = cut(session, spec, pruning, LEVEL)
    assert replace(cost, seconds=0.0) == replace(there_cost, seconds=0.0)
    assert tensor_mask_digest(here) == tensor_mask_digest(there)
    return cost, [tensor_mask_digest(here)]


FRESH = """
import torch
from benchmark.api import Pruner

class Mine(Pruner):
    needs = "labels"
    fresh_examples = {fresh}

    def score(self, network, examples, rng):
        at, recipe = network.round, network.recipe
        assert (at.number, at.rounds) == (self.__dict__.setdefault("n", 0) + 1, 3)
        self.n = at.number
        scale = 1 + examples.inputs.abs().mean() * at.density * at.target * recipe.learning_rate
        g = network.gradients(lambda w: network.loss(network.logits(examples.inputs, w), examples.labels))
        return {{name: (w * g[name]).abs() * scale for name, w in network.weights.items()}}
"""

PROSPR = """
import torch
from benchmark.api import Pruner

class Mine(Pruner):
    needs = "labels"

    def score(self, network, examples, rng):
        batches = torch.tensor_split(torch.randperm(len(examples.labels), generator=rng), 4)
        parameters = dict(network.module.named_parameters())
        others = {n: t.detach().requires_grad_() for n, t in network.others.items() if n in parameters}

        def loss(batch):
            return lambda w: network.loss(network.logits(examples.inputs[batch], w), examples.labels[batch])

        def after(gates):
            w = {**{n: gates[n] * v for n, v in network.weights.items()}, **others}
            for batch in batches[:-1]:
                w = network.step(loss(batch), w, 0.1, create_graph=True)
            return loss(batches[-1])(w)

        gates = {n: torch.ones_like(w) for n, w in network.weights.items()}
        return {n: g.abs() for n, g in network.gradients(after, gates).items()}
"""


def test_rounds_have_numbers_densities_and_fresh_examples_confined_too(tmp_path: Path, tiny_protocol: Protocol) -> None:
    fresh, old = (both(tmp_path, tiny_protocol, FRESH.format(fresh=word))[1] for word in ("True", "False"))
    assert fresh != old


def test_the_density_told_is_that_of_the_masks_cut(tiny_protocol: Protocol) -> None:
    seen = []

    class Told(Pruner):
        def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
            seen.append(network.round)
            return {name: w.abs() for name, w in network.weights.items()}

    cut(direct(Told(), subject()), method(rounds=4), tiny_protocol.pruning, LEVEL)
    totals = exponential_totals(LEVEL.prunable, LEVEL.kept, 4)
    assert [at and (at.number, at.rounds) for at in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [at and at.density for at in seen] == [total / LEVEL.prunable for total in totals]
    assert {at and at.target for at in seen} == {LEVEL.kept / LEVEL.prunable}
    seen.clear()
    score_once(direct(Told(), subject()), method(), tiny_protocol.pruning)
    assert seen == [None]


def test_inner_steps_are_counted_and_a_rewritten_prospr_scores_as_ours(tmp_path: Path, tiny_protocol: Protocol) -> None:
    cost, _ = both(tmp_path, tiny_protocol, PROSPR, rounds=1)
    assert (cost.inner_steps, cost.forward_passes, cost.backward_passes) == (3, 4, 4)
    plugin = from_file(tmp_path / "mine.py").make({})
    full = {name: torch.ones(subject().state[name].shape, dtype=torch.bool) for name in NAMES}
    mine, ours = (direct(kind, subject()).scores(full) for kind in (plugin, ProsPr()))
    for name in NAMES:
        torch.testing.assert_close(mine[name], ours[name])


def _network(scorer: DirectScorer) -> Network:
    return scorer._view({name: torch.ones(subject().state[name].shape, dtype=torch.bool) for name in NAMES}, None)


def test_gradients_of_gradients_are_the_hessian() -> None:
    """Against torch's own Hessian of a function of the last layer alone."""
    network, data = _network(direct(ProsPr(), subject())), examples()

    def loss(last: Tensor) -> Tensor:
        logits = network.logits(data.inputs, {**network.weights, "fc3.weight": last})
        return cross_entropy(logits, data.labels)

    weight = network.weights["fc3.weight"]
    direction = torch.randn(weight.shape, generator=stream(1, "direction"))

    def along(w: Mapping[str, Tensor]) -> Tensor:
        inner = network.gradients(lambda v: loss(v["fc3.weight"]), w, create_graph=True)
        return (inner["fc3.weight"] * direction).sum()

    before = network.cost.backward_passes
    product = network.gradients(along, {"fc3.weight": weight})["fc3.weight"]
    assert network.cost.backward_passes == before + 2
    hessian = torch.autograd.functional.hessian(loss, weight).reshape(weight.numel(), -1)
    torch.testing.assert_close(product.flatten(), hessian @ direction.flatten(), rtol=1e-4, atol=1e-6)


def test_a_step_is_plain_gradient_descent_in_a_direction() -> None:
    network, w = _network(direct(ProsPr(), subject())), {"a": torch.tensor([2.0, -1.0])}

    def value(v: Scores) -> Tensor:
        return (v["a"] ** 2).sum()

    assert network.step(value, w, 0.25)["a"].tolist() == [1.0, -0.5]
    assert network.step(value, w, 1.0, direction=lambda g: {"a": g["a"].sign()})["a"].tolist() == [1.0, 0.0]
    assert not network.step(value, w, 0.25)["a"].requires_grad
    assert (network.cost.inner_steps, w["a"].tolist()) == (3, [2.0, -1.0])


@pytest.mark.parametrize(
    "build",
    [
        lambda: Loaded.model_validate_json('{"say":"loaded","kind":"scores","needs":"labels","fresh_examples":"x"}'),
        lambda: Loaded.model_validate_json('{"say":"loaded","kind":"scores","needs":"labels + test set"}'),
        lambda: Answer.model_validate_json(
            '{"say":"answer","forward_passes":0,"backward_passes":0,"examples_seen":0,"inner_steps":-1}'
        ),
    ],
)
def test_frames_that_say_what_cannot_be_are_refused(build: Callable[[], object]) -> None:
    with pytest.raises(ValidationError):
        build()


def test_fresh_examples_is_true_or_false(tmp_path: Path, tiny_protocol: Protocol) -> None:
    with pytest.raises(BadPruner, match="fresh_examples is 'yes'"):
        both(tmp_path, tiny_protocol, FRESH.format(fresh="'yes'"))


def test_a_chain_keeps_inner_steps_only_where_there_are_some() -> None:
    dense = NestedMasks.dense({"w": (2, 2)})
    mask = {"w": np.ones((2, 2), bool)}
    plain = dense.extended(mask, (1.0, 2, 3, 4, 0))
    assert plain.costs.shape == (2, 4)
    assert plain.extended(mask, (1.0, 2, 3, 4, 5)).costs.tolist()[1:] == [[1, 2, 3, 4, 0], [1, 2, 3, 4, 5]]
