"""The schedule engine: counts under every allocation, plugins that break their contract, and IMP on a linear model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.api import Examples, MaskLearner, Masks, Network, Pruner, Scores
from benchmark.networks.mlp import Mlp
from benchmark.protocols import Protocol
from benchmark.protocols.levels import Level, ListedDensities, materialise
from benchmark.protocols.methods import MethodSpec, PruningSpec
from benchmark.pruning.masks import full_masks
from benchmark.pruning.schedule import prune
from benchmark.pruning.scorer import DirectScorer, ScoredNetwork
from benchmark.utils.errors import BadPruner

WIDTHS = (6, 5, 3)
SIZES = {"fc1": 30, "fc2": 15}


def pruning_of(tiny: Protocol, widths: Sequence[int] = WIDTHS, **rates: float) -> PruningSpec:
    """Rules of the tiny protocol for another network."""
    shapes = {n: tuple(p.shape) for n, p in Mlp(widths).named_parameters() if n.endswith("weight")}
    return PruningSpec.model_validate({**tiny.pruning.model_dump(), "prunable": shapes, "layer_rates": rates})


def spec_of(rounds: int | str, allocation: str) -> MethodSpec:
    """A method of a plugin called 'mine'."""
    scores = "trained" if rounds == "levels" else "initial"
    schedule = {"rounds": rounds, "scores": scores, "restart": 0}
    return MethodSpec.model_validate(
        {"pruner": "mine", "allocation": allocation, "schedule": schedule, "levels": "all"}
    )


def subject_of(widths: Sequence[int] = WIDTHS) -> ScoredNetwork:
    """A network with weights drawn from a fixed seed."""
    rng = torch.Generator().manual_seed(0)
    module = Mlp(widths)
    state = {n: torch.randn(p.shape, generator=rng) for n, p in module.named_parameters()}
    module.load_state_dict(state)
    return ScoredNetwork(module, state, (widths[0],), widths[-1])


class Counting(Pruner):
    """|w|; notes how many weights each round showed as kept, layer by layer."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, ...]] = []

    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
        self.shown.append(tuple(int(mask.sum()) for mask in network.masks.values()))
        return {name: w.abs() for name, w in network.weights.items()}


def counts(masks: Masks) -> tuple[int, ...]:
    """Kept weights per tensor."""
    return tuple(int(mask.sum()) for mask in masks.values())


def test_one_shot_layerwise_at_half_rate(tiny_protocol: Protocol) -> None:
    """45 weights to 25, output layer at half rate: 30 (1 - p) + 15 (1 - p / 2) = 25, p = 8/15: 14 and 11."""
    pruning = pruning_of(tiny_protocol, fc2=0.5)
    level = materialise(ListedDensities(rule="listed", densities=[25 / 45]), SIZES, {"fc2": 0.5})[1]
    plugin = Counting()
    masks, _ = prune(plugin, spec_of(1, "layerwise"), pruning, level, subject_of(), None, torch.Generator())
    assert (plugin.shown, counts(masks)) == ([(30, 15)], (14, 11))


def test_one_shot_global_keeps_the_largest_anywhere(tiny_protocol: Protocol) -> None:
    subject = subject_of()
    level = Level(1, 20, 45, {"fc1": 1, "fc2": 19}, None)  # layer counts play no part
    masks, _ = prune(
        Counting(), spec_of(1, "global"), pruning_of(tiny_protocol), level, subject, None, torch.Generator()
    )
    everything = np.concatenate([np.abs(subject.state[n].numpy()).ravel() for n in masks])
    kept = np.concatenate([mask.numpy().ravel() for mask in masks.values()])
    assert kept.sum() == 20
    assert everything[kept].min() > everything[~kept].max()


def test_rounds_are_exponential_in_each_layer(tiny_protocol: Protocol) -> None:
    """64 + 16 weights to 5 in four rounds: 40, 20, 10, 5, shared 4 : 1 as the layers are."""
    plugin = Counting()
    masks, _ = prune(
        plugin,
        spec_of(4, "layerwise"),
        pruning_of(tiny_protocol, (8, 8, 2)),
        Level(1, 5, 80, {}, None),
        subject_of((8, 8, 2)),
        None,
        torch.Generator(),
    )
    assert plugin.shown == [(64, 16), (32, 8), (16, 4), (8, 2)]
    assert counts(masks) == (4, 1)


def test_levels_go_on_from_the_mask_before(tiny_protocol: Protocol) -> None:
    """Iterative: one round from the given mask to this level's counts; what was pruned stays so."""
    pruning, plugin, subject = pruning_of(tiny_protocol), Counting(), subject_of()
    before = {"fc1.weight": torch.zeros(5, 6, dtype=torch.bool), "fc2.weight": torch.ones(3, 5, dtype=torch.bool)}
    before["fc1.weight"][:, :4] = True
    level = Level(3, 18, 45, {"fc1": 12, "fc2": 6}, None)
    masks, _ = prune(plugin, spec_of("levels", "layerwise"), pruning, level, subject, None, torch.Generator(), before)
    assert (plugin.shown, counts(masks)) == ([(20, 15)], (12, 6))
    assert not masks["fc1.weight"][:, 4:].any()


class Learner(MaskLearner):
    """Keeps the first weights in the order of the tensors, as many as the density says, plus `extra`."""

    def __init__(self, extra: int = 0) -> None:
        self.extra = extra

    def learn(
        self,
        network: Network,
        examples: Examples | None,  # noqa: ARG002
        density: float,
        rng: torch.Generator,  # noqa: ARG002
    ) -> Masks:
        alive = torch.cat([mask.flatten() for mask in network.masks.values()])
        chosen = torch.zeros_like(alive)
        chosen[alive.nonzero().flatten()[: round(density * len(alive)) + self.extra]] = True
        parts = chosen.split([mask.numel() for mask in network.masks.values()])
        return {n: part.reshape(network.masks[n].shape) for n, part in zip(network.masks, parts, strict=True)}


def learned(tiny: Protocol, plugin: MaskLearner, before: Masks | None = None) -> Masks:
    """A mask of 20 of 45 weights by a mask learner."""
    level = Level(1, 20, 45, {}, None)
    return prune(plugin, spec_of(1, "global"), pruning_of(tiny), level, subject_of(), None, torch.Generator(), before)[
        0
    ]


def test_a_mask_learner_gives_the_mask_itself(tiny_protocol: Protocol) -> None:
    masks = learned(tiny_protocol, Learner())
    assert torch.cat([mask.flatten() for mask in masks.values()]).tolist() == [True] * 20 + [False] * 25


def test_a_mask_learner_with_the_wrong_count_is_refused(tiny_protocol: Protocol) -> None:
    with pytest.raises(BadPruner, match=r"'mine': the mask keeps 22 weights, 20 were asked for"):
        learned(tiny_protocol, Learner(extra=2))


def spoiled_masks(change: Callable[[Masks], Any]) -> MaskLearner:
    """A learner whose masks go through `change` first."""

    class Spoiled(Learner):
        def learn(self, *arguments: Any) -> Masks:
            masks = super().learn(*arguments)
            result: Masks = change(masks) or masks
            return result

    return Spoiled()


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda m: {"fc1.weight": m["fc1.weight"]}, "do not name"),
        (lambda m: {**m, "fc9.weight": m["fc1.weight"]}, "do not name"),
        (lambda m: list(m.values()), "do not name"),
        (lambda m: {n: v.float() for n, v in m.items()}, "'fc1.weight' is not a boolean tensor of shape (5, 6)"),
        (lambda m: {n: v.tolist() for n, v in m.items()}, "'fc1.weight' is not a boolean tensor"),
        (lambda m: {**m, "fc2.weight": m["fc2.weight"].T}, "'fc2.weight' is not a boolean tensor of shape (3, 5)"),
    ],
)
def test_masks_that_do_not_fit_are_refused(tiny_protocol: Protocol, change: Callable[[Masks], Any], cause: str) -> None:
    with pytest.raises(BadPruner) as caught:
        learned(tiny_protocol, spoiled_masks(change))
    assert cause in caught.value.cause
    assert caught.value.fix


def test_a_learned_mask_brings_nothing_back(tiny_protocol: Protocol) -> None:
    before = {"fc1.weight": torch.ones(5, 6, dtype=torch.bool), "fc2.weight": torch.ones(3, 5, dtype=torch.bool)}
    before["fc1.weight"][0, 0] = False

    def swap(masks: Masks) -> None:
        masks["fc1.weight"][0, 0], masks["fc1.weight"][0, 1] = True, False

    with pytest.raises(BadPruner, match="brings back weights that are already pruned"):
        learned(tiny_protocol, spoiled_masks(swap), before)


def with_entry(scores: Scores, value: float) -> Scores:
    """Scores with one entry of fc2 replaced."""
    scores["fc2.weight"][1, 2] = value
    return scores


def change_bias(network: Network, scores: Scores) -> Scores:
    """Zero a bias in place."""
    network.others["fc1.bias"].zero_()
    return scores


def change_module(network: Network, scores: Scores) -> Scores:
    """Zero the module's own parameter."""
    with torch.no_grad():
        network.module.get_parameter("fc1.weight").zero_()
    return scores


def raising(message: str) -> Scores:
    """Fail as a user's code would."""
    raise KeyError(message)


BREAKS: list[tuple[Callable[[Network, Scores], Any], str, str]] = [
    (lambda _n, s: with_entry(s, float("nan")), "scores for 'fc2.weight' hold NaN", "finite"),
    (lambda _n, s: with_entry(s, float("inf")), "scores for 'fc2.weight' hold NaN or infinite", "finite"),
    (lambda _n, s: with_entry(s, -float("inf")), "scores for 'fc2.weight' hold NaN or infinite", "finite"),
    (lambda _n, s: {n: v * 1j for n, v in s.items()}, "complex", "real"),
    (lambda _n, s: {**s, "fc1.weight": s["fc1.weight"].T}, "have shape (6, 5), the weights (5, 6)", "one score"),
    (lambda _n, s: {**s, "fc1.weight": s["fc1.weight"].sum()}, "have shape ()", "one score"),
    (lambda _n, s: {**s, "fc1.weight": [1.0]}, "have shape list", "one score"),
    (lambda _n, s: {"fc1.weight": s["fc1.weight"]}, "no scores for 'fc2.weight'", "every tensor"),
    (lambda _n, s: {**s, "fc1.bias": torch.ones(5)}, "unknown 'fc1.bias'", "network.weights only"),
    (lambda _n, _s: None, "returned NoneType", "dict"),
    (lambda n, _s: {m: w.abs_() for m, w in n.weights.items()}, "changed weights in place", "copies"),
    (change_bias, "changed weights in place", "copies"),
    (change_module, "changed weights in place", "copies"),
    (lambda n, _s: n.weights.clear(), "raised AttributeError", "Correct the pruner"),  # type: ignore[attr-defined]
    (lambda _n, _s: raising("colour"), "raised KeyError: 'colour'", "Correct the pruner"),
]


@pytest.mark.parametrize(("act", "cause", "fix"), BREAKS)
def test_broken_contracts(tiny_protocol: Protocol, act: Callable[[Network, Scores], Any], cause: str, fix: str) -> None:
    class Mine(Pruner):
        def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
            answer: Scores = act(network, {name: w.abs() for name, w in network.weights.items()})
            return answer

    level = Level(1, 20, 45, {"fc1": 13, "fc2": 7}, None)
    with pytest.raises(BadPruner) as caught:
        prune(Mine(), spec_of(1, "global"), pruning_of(tiny_protocol), level, subject_of(), None, torch.Generator())
    assert caught.value.thing == "pruner 'mine'"
    assert cause in caught.value.cause
    assert fix in caught.value.fix


@pytest.mark.parametrize(("past_torch", "call", "seen"), [(False, 3, 3), (False, 7, 7), (True, 1, 1), (True, 3, 4)])
def test_a_module_changed_in_a_later_round_is_noticed(past_torch: bool, call: int, seen: int) -> None:
    """At once, or, past torch's count of changes, in the next call that is a power of two."""

    class Later(Pruner):
        calls = 0

        def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
            self.calls += 1
            weight = network.module.get_parameter("fc1.weight")
            if self.calls == call:
                (weight.data if past_torch else weight.detach()).zero_()
            return {name: w.abs() for name, w in network.weights.items()}

    subject = subject_of()
    names = tuple(n for n in subject.state if n.endswith("weight"))
    scorer = DirectScorer(Later(), "later", names, subject, None, torch.Generator())
    masks = full_masks({name: tuple(subject.state[name].shape) for name in names})
    for _ in range(seen - 1):
        scorer.scores(masks)
    with pytest.raises(BadPruner, match="changed weights in place"):
        scorer.scores(masks)
