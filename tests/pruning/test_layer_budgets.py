"""Budgets that a pruner sets by layer: ERK, smart ratios, whole counts of them, and masks with exactly these."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from baselines.erk_random import ErkRandom
from baselines.smart_ratio import SmartRatio
from benchmark.api import Examples, MaskLearner, Masks, Network, Pruner, Scores
from benchmark.networks.mlp import Mlp
from benchmark.protocols import Protocol
from benchmark.protocols.levels import Level
from benchmark.protocols.methods import MethodSpec, PruningSpec
from benchmark.pruning.schedule import prune, whole_budgets
from benchmark.pruning.scorer import ScoredNetwork
from benchmark.utils.errors import BadPruner

Shapes = dict[str, tuple[int, ...]]
LENET: Shapes = {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}
CONV: Shapes = {"conv1": (16, 3, 3, 3), "conv2": (32, 16, 3, 3), "conv3": (64, 32, 1, 1), "fc": (10, 64), "bias": (10,)}


def size(shapes: Shapes) -> int:
    return sum(map(prod, shapes.values()))


def erk_by_bisection(shapes: Shapes, kept: int) -> dict[str, float]:
    """min(eps * sum(shape), size) in every layer, with the eps that gives the total."""
    low, high = 0.0, 1e6
    for _ in range(200):
        eps = (low + high) / 2
        low, high = (eps, high) if sum(min(eps * sum(s), prod(s)) for s in shapes.values()) < kept else (low, eps)
    return {n: min(low * sum(s), prod(s)) for n, s in shapes.items()}


@pytest.mark.parametrize("shapes", [LENET, CONV])
@pytest.mark.parametrize("density", [0.9, 0.5, 0.2, 0.05, 0.01])
def test_erk_is_one_factor_for_all_layers_that_are_not_dense(shapes: Shapes, density: float) -> None:
    kept = round(density * size(shapes))
    budgets = ErkRandom().budgets(shapes, kept)
    assert sum(budgets.values()) == pytest.approx(kept, rel=1e-12)
    assert budgets == pytest.approx(erk_by_bisection(shapes, kept), rel=1e-9)


def test_erk_of_lenet_at_six_percent() -> None:
    """16,000 / (1,084 + 400 + 110) is 10.04: the output layer would keep 1,104 of its 1,000, so it is dense."""
    budgets = ErkRandom().budgets(LENET, 16_000)
    eps = (16_000 - 1_000) / 1_484
    assert budgets == pytest.approx({"fc1": 1084 * eps, "fc2": 400 * eps, "fc3": 1000.0})


def test_smart_ratio_of_lenet_by_hand() -> None:
    """Layers 1 and 2 of 3 have shares 12 and 6, the output keeps 300 of its 1,000."""
    budgets = SmartRatio().budgets(LENET, 26_620)
    scale = 26_320 / (12 * 235_200 + 6 * 30_000)
    assert budgets == pytest.approx({"fc1": 12 * 235_200 * scale, "fc2": 6 * 30_000 * scale, "fc3": 300.0})


def test_smart_ratio_hands_a_surplus_to_the_layers_behind() -> None:
    """Four layers of 100: shares 20, 12, 6, the last keeps 30. Of 270 left, layer 1 would keep 142, and 2 then 127."""
    shapes = {f"l{i}": (10, 10) for i in range(1, 5)}
    budgets = SmartRatio().budgets(shapes, 300)
    assert budgets == pytest.approx({"l1": 100.0, "l2": 100.0, "l3": 70.0, "l4": 30.0})
    assert SmartRatio().budgets(shapes, 390) == pytest.approx({"l1": 100.0, "l2": 100.0, "l3": 100.0, "l4": 90.0})
    assert SmartRatio().budgets(shapes, 20) == pytest.approx(
        {"l1": 15 * 20 / 38, "l2": 15 * 12 / 38, "l3": 15 * 6 / 38, "l4": 5.0}
    )  # 30 would be more than all


def test_smart_ratio_of_vgg_divides_by_the_square_of_the_depth() -> None:
    shapes = {f"l{i}": (10, 10) for i in range(1, 5)}
    budgets = SmartRatio(vgg=True).budgets(shapes, 60)
    shares = {"l1": 20.0, "l2": 12 / 4, "l3": 6 / 9}
    expected = {name: 30 * share / sum(shares.values()) for name, share in shares.items()}
    assert budgets == pytest.approx({**expected, "l4": 30.0})


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=6),
    st.floats(0.001, 1),
    st.sampled_from([ErkRandom(), SmartRatio(), SmartRatio(vgg=True)]),
)
def test_budgets_fit_and_become_whole_numbers_of_the_asked_sum(
    layers: list[tuple[int, int]], density: float, pruner: ErkRandom | SmartRatio
) -> None:
    shapes = {f"l{i}": shape for i, shape in enumerate(layers)}
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    kept = max(1, round(density * sum(sizes.values())))
    budgets = pruner.budgets(shapes, kept)
    counts = whole_budgets(budgets, sizes, kept, "mine")
    assert sum(counts.values()) == kept
    assert all(0 <= counts[name] <= sizes[name] and abs(counts[name] - budgets[name]) < 1 for name in sizes)


def test_the_largest_remainders_are_rounded_up() -> None:
    budgets = {"a": 1.5, "b": 2.75, "c": 0.75, "d": 4.0}
    assert whole_budgets(budgets, {"a": 2, "b": 9, "c": 9, "d": 4}, 9, "mine") == {"a": 1, "b": 3, "c": 1, "d": 4}


@pytest.mark.parametrize(
    ("budgets", "why"),
    [
        ({"a": 2.0}, "do not name"),
        ({"a": 2.0, "b": 3.0, "c": 0.0}, "do not name"),
        ({"a": 5.0, "b": 0.0}, "budgets 5 weights of 'a', which has 4"),
        ({"a": -1.0, "b": 6.0}, "budgets -1 weights"),
        ({"a": float("nan"), "b": 3.0}, "budgets nan weights"),
        ({"a": 2.0, "b": 2.0}, "add up to 4, 5 weights stay"),
    ],
)
def test_budgets_that_cannot_be(budgets: dict[str, float], why: str) -> None:
    with pytest.raises(BadPruner, match=why):
        whole_budgets(budgets, {"a": 4, "b": 6}, 5, "mine")


WIDTHS = (20, 12, 4)


def masks_of(pruner: Pruner | MaskLearner, tiny: Protocol, kept: int, rounds: int = 1, seed: int = 0) -> Masks:
    """The mask of a small MLP, by the pruner's budgets, without data."""
    module = Mlp(WIDTHS)
    shapes = {n: tuple(p.shape) for n, p in module.named_parameters() if n.endswith("weight")}
    pruning = PruningSpec.model_validate({**tiny.pruning.model_dump(), "prunable": shapes, "layer_rates": {}})
    schedule = {"rounds": rounds, "scores": "initial", "restart": 0}
    spec = MethodSpec.model_validate(
        {"pruner": "mine", "allocation": "by-pruner", "schedule": schedule, "levels": "all"}
    )
    state = {n: p.detach() for n, p in module.named_parameters()}
    rng = torch.Generator().manual_seed(seed)
    subject = ScoredNetwork(module, state, (WIDTHS[0],), WIDTHS[-1])
    return prune(pruner, spec, pruning, Level(1, kept, 288, {}, None), subject, None, rng)[0]


@pytest.mark.parametrize("pruner", [ErkRandom(), SmartRatio()])
@pytest.mark.parametrize("kept", [30, 144])
def test_masks_have_these_counts_and_random_places(
    pruner: ErkRandom | SmartRatio, kept: int, tiny_protocol: Protocol
) -> None:
    first, again, other = (masks_of(pruner, tiny_protocol, kept, seed=s) for s in (1, 1, 2))
    shapes = {name: tuple(mask.shape) for name, mask in first.items()}
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    wanted = whole_budgets(pruner.budgets(shapes, kept), sizes, kept, "mine")
    assert {name: int(mask.sum()) for name, mask in first.items()} == wanted
    assert {name: int(mask.sum()) for name, mask in other.items()} == wanted
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


class Growing(Pruner):
    """First everything to the first layer, then to the second."""

    def __init__(self) -> None:
        self.calls = 0

    def budgets(self, shapes: Mapping[str, tuple[int, ...]], kept: int) -> dict[str, float]:  # noqa: ARG002
        self.calls += 1
        return (
            {"fc1.weight": kept - 10.0, "fc2.weight": 10.0}
            if self.calls == 1
            else {"fc1.weight": 0, "fc2.weight": kept}
        )

    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
        return dict(network.weights)


def test_a_budget_does_not_grow_over_rounds(tiny_protocol: Protocol) -> None:
    with pytest.raises(BadPruner, match=r"budgets 30 weights of 'fc2\.weight', of which 10 are left"):
        masks_of(Growing(), tiny_protocol, 30, rounds=2)


class NoBudgets(Pruner):
    """Scores only."""

    def score(self, network: Network, examples: Examples | None, rng: torch.Generator) -> Scores:  # noqa: ARG002
        return dict(network.weights)


class Learner(MaskLearner):
    """A mask."""

    def learn(self, network: Network, examples: Examples | None, density: float, rng: torch.Generator) -> Masks:  # noqa: ARG002
        return dict(network.masks)


@pytest.mark.parametrize(("pruner", "why"), [(NoBudgets(), "NoBudgets sets no budgets"), (Learner(), "gives masks")])
def test_by_pruner_needs_budgets(pruner: Pruner | MaskLearner, why: str, tiny_protocol: Protocol) -> None:
    with pytest.raises(BadPruner, match=why):
        masks_of(pruner, tiny_protocol, 30)
