"""Masks learned by scores: a straight-through step by hand, the masks of a plain loop, frozen weights, resuming."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch
from acting_hooks import Stop, stop_at
from mlp_training import RECIPES, network, replica, setup
from mlp_training import recipe as recipe_of
from torch import Tensor
from torch.nn.functional import cross_entropy

from baselines.edge_popup import EdgePopup
from baselines.edge_popup_annealed import EdgePopupAnnealed
from baselines.gem_miner import GemMiner
from benchmark.api import Learner, Run, highest, straight_through
from benchmark.training.checkpoint import CheckpointFile
from benchmark.training.learner import cut_steps
from benchmark.training.loop import Placement, train
from benchmark.training.replicas import Outcome, Replica
from benchmark.utils.errors import BadInput

SPEC = network(12, 20, 4)
NAMES = ("fc1.weight", "fc2.weight")
SIZES = {"fc1.weight": 240, "fc2.weight": 80}
DENSITY = 0.3
LAYERWISE = {(name,): round(DENSITY * size) for name, size in SIZES.items()}
GLOBAL = {NAMES: round(DENSITY * sum(SIZES.values()))}
SGD = {**RECIPES["momentum"], "learning_rate": 0.1, "arithmetic": "torch", "drops": None}
Make = Callable[[], Learner]


def told(learner: Learner, target: Mapping[tuple[str, ...], int]) -> Learner:
    learner.target = target
    return learner


def begun(seed: int = 0, last: int = 30) -> Replica:
    """All weights of both matrices are there to be scored."""
    one = replica(SPEC, seed=seed, last=last)
    return replace(one, masks={name: torch.ones_like(one.start[name], dtype=torch.bool) for name in NAMES})


def learned(make: Make, how: Any = None, count: int = 1, **arguments: Any) -> list[Outcome]:
    ours = setup(SPEC, how or recipe_of(**SGD))
    return train([begun(seed) for seed in range(count)], ours, learners=lambda _: make(), **arguments)


def make_of(kind: str) -> Make:
    """The rungs of Gem-Miner's ladder (arXiv 2202.12002, Table 3); an epoch is 7 updates, a training 30."""
    made: dict[str, tuple[Callable[[], Learner], Mapping[tuple[str, ...], int]]] = {
        "edge-popup": (EdgePopup, LAYERWISE),
        "global": (EdgePopup, GLOBAL),
        "gradual": (lambda: EdgePopup(gradual=1), GLOBAL),
        "regularised": (lambda: EdgePopup(gradual=1, penalty=1e-3), GLOBAL),
        "annealed": (lambda: EdgePopupAnnealed(from_start=True), GLOBAL),
        "stepped": (lambda: EdgePopupAnnealed(penalty=1e-3), GLOBAL),
        "gem-miner": (lambda: GemMiner(period=1, penalty=1e-3), GLOBAL),
    }
    learner, target = made[kind]
    return lambda: told(learner(), target)


LADDER = ["edge-popup", "global", "gradual", "regularised", "annealed", "stepped", "gem-miner"]


def test_a_straight_through_step_by_hand() -> None:
    """y = w1 x1 + w2 x2 of which one weight stays; d(y^2)/ds = 2 y w x sign(s), for both scores."""
    weight, x = torch.tensor([[3.0, 5.0]]), torch.tensor([2.0, 7.0])
    scores = torch.tensor([[-0.4, 0.3]], requires_grad=True)
    learner = told(EdgePopup(), {("fc",): 1})
    mask = learner.mask({"fc": scores}, {"fc": torch.ones(1, 2, dtype=torch.bool)})["fc"]
    assert mask.tolist() == [[1.0, 0.0]]
    y = ((weight * mask) @ x).squeeze()
    y.square().backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    assert scores.grad.tolist() == [[2 * 6.0 * 3.0 * 2.0 * -1, 2 * 6.0 * 5.0 * 7.0]]


def test_gem_miners_step_by_hand() -> None:
    """p of 0.5 rounds up, what is frozen is out; 2 lambda p comes to the gradient, and p is clipped."""
    p = torch.tensor([0.5, 0.49, 0.9], requires_grad=True)
    learner = GemMiner(penalty=0.1)
    mask = learner.mask({"fc": p}, {"fc": torch.tensor([True, True, False])})["fc"]
    assert mask.tolist() == [1.0, 0.0, 0.0]
    penalty = learner.penalty({"fc": p})
    assert penalty is not None
    ((mask * torch.tensor([2.0, 3.0, 4.0])).sum() + penalty).backward()  # type: ignore[no-untyped-call]
    assert torch.allclose(p.grad, torch.tensor([2.0 + 0.1, 3.0 + 0.098, 4.0 + 0.18]))  # type: ignore[arg-type]
    moved = {"fc": torch.tensor([-0.2, 0.3, 1.4])}
    learner.bound(moved)
    assert moved["fc"].tolist() == pytest.approx([0.0, 0.3, 1.0])


def test_straight_through_is_the_mask_to_the_bit() -> None:
    scores = torch.tensor([1e-30, 3e7, -0.1])
    assert straight_through(scores, torch.tensor([True, False, True])).tolist() == [1.0, 0.0, 1.0]


def slow_reference(kind: str, steps: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same learning written out, in plain loops over sorted lists: scores after `steps` updates, and the mask."""
    ours, one, how = setup(SPEC, recipe_of(**SGD)), begun(), recipe_of(**SGD)
    from benchmark.training.batches import ReplicaExamples
    from benchmark.training.replicas import generators

    first, per_epoch = make_of(kind)(), 7
    scores = {n: first.first_scores(one.start[n], generators(0, 0)(f"scores of {n}")) for n in NAMES}
    groups = {"edge-popup": LAYERWISE}.get(kind, GLOBAL)
    total, dead = sum(SIZES.values()), {n: torch.zeros_like(s, dtype=torch.bool) for n, s in scores.items()}
    velocity = {n: torch.zeros_like(s) for n, s in scores.items()}
    strength = 1e-3 if kind in ("regularised", "stepped", "gem-miner") else 0.0
    cuts = {"annealed": [0, 7, 14, 21, 28], "stepped": [7, 14, 21, 28], "gem-miner": [7, 14, 21, 28]}.get(kind, [])

    def counted(step: int) -> dict[tuple[str, ...], int]:
        events = [e for e in [*range(per_epoch, 30, per_epoch), 30] if e <= step]
        if kind in ("edge-popup", "global"):
            return dict(groups)
        share = events[-1] / 30 if events else 0.0
        if cuts:
            share = sum(cut <= step for cut in cuts) / len(cuts)
        return {
            names: round(total * (count / total) ** share) if share < 1 else count for names, count in groups.items()
        }

    def best(
        values: Mapping[str, Tensor], counts: Mapping[tuple[str, ...], int], ties: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        chosen = {n: torch.zeros_like(v, dtype=torch.bool) for n, v in values.items()}
        for names, count in counts.items():
            places = [(float(v), n, i) for n in names for i, v in enumerate(values[n].flatten())]
            if ties is not None:
                places = [places[i] for i in torch.randperm(len(places), generator=ties)]
            for _, name, index in sorted(places, key=lambda place: -place[0])[:count]:
                chosen[name].view(-1)[index] = True
        return chosen

    def mask() -> dict[str, Tensor]:
        if kind == "gem-miner":
            return {n: (p >= 0.5) & ~dead[n] for n, p in scores.items()}
        return best({n: s.abs() for n, s in scores.items()}, counted(done))

    for done in range(steps):
        order = ReplicaExamples(one.split.training, 0).tables(how, ours.dataset, done // per_epoch)["order"]
        rows = order[done % per_epoch * 16 : done % per_epoch * 16 + 16]
        x, labels, now = ours.dataset.train_inputs[rows], ours.dataset.train_labels[rows], mask()
        weights = {n: (one.start[n] * now[n]).requires_grad_() for n in NAMES}
        hidden = torch.relu(x @ weights["fc1.weight"].T + one.start["fc1.bias"])
        loss = cross_entropy(hidden @ weights["fc2.weight"].T + one.start["fc2.bias"], labels)
        gradients = torch.autograd.grad(loss, [weights[n] for n in NAMES])
        for name, gradient in zip(NAMES, gradients, strict=True):
            s = scores[name]
            slope = gradient * one.start[name] * (1.0 if kind == "gem-miner" else s.sign())
            slope = (slope + 2 * strength * s) * ~dead[name] + 0.01 * s
            velocity[name] = 0.9 * velocity[name] + slope
            scores[name] = s - 0.1 * velocity[name]
            if kind == "gem-miner":
                scores[name] = scores[name].clamp(0, 1)
        if kind == "gem-miner" and done + 1 in cuts:
            rng = generators(0, done + 1)("ties")
            kept = best({n: torch.where(dead[n], -1.0, s) for n, s in scores.items()}, counted(done + 1), rng)
            for n in NAMES:
                dead[n] = ~kept[n]
                scores[n], velocity[n] = scores[n] * kept[n], velocity[n] * kept[n]
    done = steps
    return scores, {n: ~d for n, d in dead.items()} if kind == "gem-miner" else mask()


@pytest.mark.parametrize("kind", LADDER)
def test_it_learns_the_masks_of_a_plain_loop(kind: str) -> None:
    """Thirty updates and four epochs of each rung; ranks of what is left agree to rounding, masks exactly."""
    (outcome,) = learned(make_of(kind))
    scores, mask = slow_reference(kind, 30)
    assert outcome.masks is not None
    assert outcome.ranking is not None
    for name in NAMES:
        assert torch.equal(outcome.masks[name], mask[name])
        left = mask[name] if kind == "gem-miner" else torch.ones_like(mask[name])
        assert torch.allclose(outcome.ranking[name][left], scores[name].abs()[left], atol=1e-5)
    first = highest({n: s.abs() for n, s in slow_reference(kind, 0)[0].items()}, GLOBAL)
    assert any(not torch.equal(first[name], mask[name]) for name in NAMES)


@pytest.mark.parametrize("kind", LADDER)
def test_weights_stay_to_the_bit_and_counts_are_exact(kind: str) -> None:
    (outcome,) = learned(make_of(kind))
    start, masks = begun().start, outcome.masks
    assert masks is not None
    for name, value in outcome.weights.items():
        expected = start[name] * masks[name] if name in masks else start[name]
        assert torch.equal(expected.view(torch.int32), value.view(torch.int32))
    for names, count in make_of(kind)().target.items():
        assert sum(int(masks[name].sum()) for name in names) == count
    assert (outcome.steps, outcome.examples) == (30, 4 * 110 + 2 * 16)


def test_a_mask_alone_is_learned() -> None:
    """No weight moves, and most examples come to be right: chance is a quarter."""
    wide = network(12, 200, 4)
    one = replica(wide, last=400)
    one = replace(one, masks={name: torch.ones_like(one.start[name], dtype=torch.bool) for name in NAMES})
    target = {("fc1.weight",): 1200, ("fc2.weight",): 400}
    how = recipe_of(**{**SGD, "weight_decay": 0.0}, steps=400)
    (outcome,) = train([one], setup(wide, how), learners=lambda _: told(EdgePopup(), target))
    assert outcome.train is not None
    assert outcome.train["accuracy"] > 60


def test_the_last_evaluation_is_of_the_recorded_mask() -> None:
    """Gem-Miner rounds scores while it learns, and records what is left, scores below a half included."""
    (outcome,) = learned(make_of("gem-miner"))
    ours = setup(SPEC, recipe_of(**SGD))
    module = ours.make_module(None)
    module.load_state_dict(outcome.weights)
    right = module(ours.dataset.test_inputs).argmax(1) == ours.dataset.test_labels
    assert outcome.history.test[-1]["accuracy"] == pytest.approx(100 * float(right.float().mean()))
    assert outcome.hook_facts is not None
    assert 0 < outcome.hook_facts["scores_above_half"] <= GLOBAL[NAMES]


def scores_at_hand(scores: dict[str, Tensor]) -> Run:
    """A run of nothing but scores, all of whose weights are left."""
    masks = {name: torch.ones_like(score, dtype=torch.bool) for name, score in scores.items()}
    return Run(torch.nn.Identity(), masks, {}, cross_entropy, lambda: (torch.zeros(0), torch.zeros(0)),
               lambda _: torch.Generator().manual_seed(5), scores)  # fmt: skip


def test_gem_miner_freezes_by_equal_factors() -> None:
    """1 - exp(-cT) of what is left goes before each epoch but the first, c = ln(1/density) / (E - 1); then it learns on
    (get_prune_rate of the released code)."""
    learner = told(GemMiner(period=1), GLOBAL)
    how = recipe_of(**SGD, steps=28)
    assert list(learner.when(how, 7)) == [7, 14, 21, 28]
    scores = {n: torch.rand(size) for n, size in SIZES.items()}
    run = scores_at_hand(scores)
    left = 320
    for step in (7, 14, 21):
        learner.at(step, run)
        now = sum(int(m.sum()) for m in run.masks.values())
        assert now / left == pytest.approx(2.718281828 ** -(log(1 / DENSITY) / 3), abs=0.01)
        for n in NAMES:
            scores[n].mul_(run.masks[n])
        left = now
    assert left == GLOBAL[NAMES]
    kept = {name: mask.clone() for name, mask in run.masks.items()}
    learner.at(28, run)
    assert all(torch.equal(kept[n], run.masks[n]) for n in NAMES), "nothing is frozen after the last update"
    ranks = learner.ranking(scores, run.masks)
    assert all(bool((ranks[n][run.masks[n]] >= 0).all() and (ranks[n][~run.masks[n]] < 0).all()) for n in NAMES)


def test_of_scores_clipped_to_0_any_may_be_frozen() -> None:
    """Nine of ten are equal. By their order all of the first matrix would stay; drawn, each loses its share."""
    sizes = {"first": 4000, "second": 1000}
    learner = told(GemMiner(period=1), {("first", "second"): 2500})
    learner.when(recipe_of(**SGD, steps=14), 7)
    run = scores_at_hand({name: torch.cat([torch.zeros(size * 9 // 10), torch.ones(size // 10)])
                          for name, size in sizes.items()})  # fmt: skip
    learner.at(7, run)
    shares = [float(run.masks[name][: sizes[name] * 9 // 10].float().mean()) for name in sizes]
    assert sum(int(mask.sum()) for mask in run.masks.values()) == 2500
    assert all(run.masks[name][sizes[name] * 9 // 10 :].all() for name in sizes), "what is not equal is not drawn"
    assert shares == pytest.approx([4 / 9, 4 / 9], abs=4 * (4 / 9 * 5 / 9 / 900) ** 0.5)


def test_cuts_leave_an_epoch_at_the_end() -> None:
    assert cut_steps(150 * 391, 391, 5)[-1] == 145 * 391  # ResNet-20's ablation: 29 of them, of 150 epochs
    assert len(cut_steps(150 * 391, 391, 5)) == 29
    assert cut_steps(10 * 282, 282, 1, from_start=True) == tuple(282 * epoch for epoch in range(10))
    assert cut_steps(1502, 40, 2)[-1] == 36 * 40  # 37.5 epochs
    assert cut_steps(20, 10, 2) == (0,), "too short: at the asked density from the beginning"


@pytest.mark.parametrize("kind", ["edge-popup", "gradual", "annealed", "gem-miner"])
def test_it_goes_on_where_it_was_stopped(kind: str, tmp_path: Path) -> None:
    """After every evaluation, to the bit; events between are not repeated and not lost."""
    (whole,) = learned(make_of(kind))
    file = CheckpointFile(tmp_path / "checkpoint", tmp_path, "this", 1e-9)
    for step in (10, 20):
        with pytest.raises(Stop):
            learned(make_of(kind), progress=stop_at(step), checkpoints=[file])
    (again,) = learned(make_of(kind), checkpoints=[file])
    assert again.history == whole.history
    assert again.hook_facts == whole.hook_facts
    assert again.masks is not None
    assert whole.masks is not None
    assert again.ranking is not None
    assert whole.ranking is not None
    for name in NAMES:
        assert torch.equal(again.masks[name], whole.masks[name])
        assert torch.equal(again.ranking[name], whole.ranking[name])


def test_a_neighbour_changes_nothing() -> None:
    alone = [learned(make_of("gem-miner"))[0], train([begun(1)], setup(SPEC, recipe_of(**SGD)),
             learners=lambda _: make_of("gem-miner")())[0]]  # fmt: skip
    together = learned(make_of("gem-miner"), count=2, placement=Placement("cpu", "streams"))
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
        assert one.history == other.history


def test_a_learner_may_not_touch_the_network() -> None:
    class Meddler(EdgePopup):
        def when(self, recipe: Any, updates_per_epoch: int) -> tuple[int, ...]:  # noqa: ARG002
            return (3,)

        def at(self, step: int, run: Run) -> None:  # noqa: ARG002
            run.network = torch.nn.Identity()

    with pytest.raises(BadInput, match="Change scores and masks only"):
        learned(lambda: told(Meddler(), LAYERWISE))


def test_adam_and_portable_recipes_learn_by_torch() -> None:
    """The kernels have no scores; whatever the protocol's arithmetic, learning is torch's."""
    by_torch, portable = (learned(make_of("edge-popup"), recipe_of(arithmetic=a))[0] for a in ("torch", "portable"))
    assert all(torch.equal(by_torch.weights[name], portable.weights[name]) for name in by_torch.weights)


@pytest.mark.parametrize(
    "make",
    [
        lambda: EdgePopup(gradual=-1),
        lambda: GemMiner(period=0),
        lambda: GemMiner(norm="l3"),  # type: ignore[arg-type]
        lambda: EdgePopupAnnealed(every=0),
    ],
)
def test_bad_parameters_are_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="below"):
        make()
