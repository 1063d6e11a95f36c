"""Levels against the papers' own axes, hand-worked counts, and properties that any rule must have."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.protocols import load
from benchmark.protocols.levels import (
    IterativeRate,
    Level,
    LinearSparsity,
    ListedDensities,
    exponential_totals,
    layerwise_counts,
    materialise,
)

LENET = {"fc1": 784 * 300, "fc2": 300 * 100, "fc3": 100 * 10}


@pytest.fixture(scope="module")
def lth() -> tuple[Level, ...]:
    """The levels of lth/lenet-mnist."""
    return load("lth/lenet-mnist").level_table


def test_lenet_has_266200_weights(lth: tuple[Level, ...]) -> None:
    assert lth[0].prunable == lth[0].kept == 266_200
    assert lth[0].density == 1.0
    assert dict(lth[0].counts) == LENET


@pytest.mark.parametrize(
    ("level", "percent"), [(3, 51.3), (7, 21.1), (9, 13.5), (12, 7.0), (15, 3.6), (16, 2.9), (18, 1.9)]
)
def test_densities_are_the_papers_axis(lth: tuple[Level, ...], level: int, percent: float) -> None:
    """Percent of weights remaining as printed in the figures and text of Frankle & Carbin."""
    assert round(100 * lth[level].density, 1) == percent


def test_iterative_layers_lose_their_own_rate_every_round(lth: tuple[Level, ...]) -> None:
    """A fifth a round, a tenth in the output layer; within one weight of the exact power."""
    for level in lth:
        for layer, rate in (("fc1", 0.2), ("fc2", 0.2), ("fc3", 0.1)):
            assert abs(level.counts[layer] - LENET[layer] * (1 - rate) ** level.index) < 1.5
        assert sum(level.counts.values()) == level.kept


def test_one_shot_output_layer_loses_at_half_the_rate(lth: tuple[Level, ...]) -> None:
    """One round: (784*300 + 300*100)(1 - p) + 1000(1 - p/2) weights stay; p from the total, fc3 from p."""
    for level in lth:
        p = (266_200 - level.kept) / (265_200 + 500)
        assert abs(level.one_shot_counts["fc3"] - 1000 * (1 - p / 2)) < 1
        assert abs(level.one_shot_counts["fc1"] - 235_200 * (1 - p)) < 1
        assert sum(level.one_shot_counts.values()) == level.kept


def test_one_shot_by_hand() -> None:
    """100 + 10 weights to 72, second layer at half rate: p = 38 / 105; 63.81 and 8.19 stay -> 64 and 8."""
    assert layerwise_counts({"a": 100, "b": 10}, 72, {"b": 0.5}) == {"a": 64, "b": 8}


def test_two_rounds_and_one_round_differ_where_rates_differ() -> None:
    """Half of 20 % twice leaves 81 of 100; half of 36 % once leaves 82."""
    last = materialise(IterativeRate(rule="rate-per-round", rate=0.2, rounds=2), {"a": 100, "b": 100}, {"b": 0.5})[2]
    assert (last.counts["b"], last.one_shot_counts["b"]) == (81, 82)
    assert last.kept == 64 + 81 == sum(last.one_shot_counts.values())


def test_equal_remainders_go_to_the_first_layer() -> None:
    assert layerwise_counts({"a": 3, "b": 3}, 3, {}) == {"a": 2, "b": 1}


def test_mnist1d_counts_are_the_notebooks() -> None:
    """Its rule in its own arithmetic: int(sparsity * size) weights drop, sparsity from numpy's linspace."""
    levels = load("mnist1d/mlp").level_table
    sizes = {"fc1": 500 * 41, "fc2": 500 * 501, "fc3": 10 * 501}
    sparsities = np.linspace(0, 1, 100)
    assert len(levels) == len(sparsities)
    for level, sparsity in zip(levels, sparsities, strict=True):
        assert dict(level.counts) == {layer: size - int(sparsity * size) for layer, size in sizes.items()}
    assert levels[-1].kept == 0


def test_listed_densities_are_rounded() -> None:
    levels = materialise(ListedDensities(rule="listed", densities=[1.0, 0.5, 0.126, 0.001]), {"a": 80, "b": 20}, {})
    assert [level.kept for level in levels] == [100, 100, 50, 13, 1]  # at least one weight stays


@pytest.mark.parametrize(
    ("prunable", "kept", "rounds", "totals"),
    [
        (1000, 1, 3, [100, 10, 1]),
        (256, 16, 4, [128, 64, 32, 16]),
        (1000, 300, 1, [300]),
        (10, 10, 3, [10, 10, 10]),
        (50, 0, 3, [0, 0, 0]),
    ],
)
def test_exponential_rounds_by_hand(prunable: int, kept: int, rounds: int, totals: list[int]) -> None:
    assert exponential_totals(prunable, kept, rounds) == totals


@given(prunable=st.integers(1, 10**6), share=st.fractions(0, 1), rounds=st.integers(1, 120))
def test_exponential_rounds_fall_to_the_very_count(prunable: int, share: Fraction, rounds: int) -> None:
    kept = max(1, int(prunable * share))
    totals = exponential_totals(prunable, kept, rounds)
    assert len(totals) == rounds
    assert totals[-1] == kept
    assert all(a >= b for a, b in zip([prunable, *totals], totals, strict=False))


layer_sizes = st.lists(st.integers(1, 5000), min_size=1, max_size=5).map(
    lambda sizes: {f"l{i}": size for i, size in enumerate(sizes)}
)
rates = st.lists(st.sampled_from([0.25, 0.5, 1.0]), min_size=5, max_size=5)


def assert_levels_are_sound(levels: tuple[Level, ...], sizes: dict[str, int]) -> None:
    """Exact totals, nested counts, one-shot counts of the same total, nothing outside 0..size."""
    for before, level in zip((levels[0], *levels), levels, strict=False):
        assert level.kept == sum(level.counts.values()) == sum(level.one_shot_counts.values())
        assert level.density == level.kept / sum(sizes.values())
        for layer, size in sizes.items():
            assert 0 <= level.counts[layer] <= before.counts[layer] <= size
            assert 0 <= level.one_shot_counts[layer] <= size


@given(sizes=layer_sizes, steps=st.integers(2, 120))
def test_linear_levels_are_sound(sizes: dict[str, int], steps: int) -> None:
    levels = materialise(LinearSparsity(rule="linear-sparsity-to-1", rounds=steps), sizes, {})
    assert len(levels) == steps
    assert_levels_are_sound(levels, sizes)


@given(sizes=layer_sizes, share=st.fractions(0, 1), scales=rates)
def test_one_round_is_exact_and_follows_the_rates(sizes: dict[str, int], share: Fraction, scales: list[float]) -> None:
    """Within one weight of the real-valued solution, checked by solving for p by bisection in floats."""
    by_layer = dict(zip(sizes, scales, strict=False))
    least = sum(size * (1 - by_layer[layer] / max(by_layer.values())) for layer, size in sizes.items())
    total = int(least) + 1 + int((sum(sizes.values()) - int(least) - 1) * share)
    counts = layerwise_counts(sizes, total, by_layer)
    assert sum(counts.values()) == total
    low, high = 0.0, 1 / max(by_layer.values())
    for _ in range(80):
        p = (low + high) / 2
        more = sum(size * (1 - p * by_layer[layer]) for layer, size in sizes.items()) > total
        low, high = (p, high) if more else (low, p)
    for layer, size in sizes.items():
        assert abs(counts[layer] - size * (1 - low * by_layer[layer])) < 1.001


@given(sizes=layer_sizes, rate=st.sampled_from([0.1, 0.2, 0.5, 0.9]), rounds=st.integers(1, 30))
def test_iterative_levels_are_sound_at_equal_rates(sizes: dict[str, int], rate: float, rounds: int) -> None:
    assert_levels_are_sound(
        materialise(IterativeRate(rule="rate-per-round", rate=rate, rounds=rounds), sizes, {}), sizes
    )


def test_a_total_that_the_rates_cannot_reach_is_refused() -> None:
    """b may lose half of its ten weights at most while a still has any: 3 cannot be reached without a going below 0."""
    with pytest.raises(ValueError, match="3 weights"):
        layerwise_counts({"a": 10, "b": 10}, 3, {"b": 0.5})
    with pytest.raises(ValueError, match="layer_rates"):
        layerwise_counts({"a": 10}, 5, {"a": 0.0})


def test_iteration_reaches_where_one_round_cannot() -> None:
    """Forty rounds at 20 % and 10 % leave less than the half of b that one round could not touch."""
    rule = IterativeRate(rule="rate-per-round", rate=0.2, rounds=40)
    levels = materialise(rule, {"a": 1000, "b": 100}, {"b": 0.5})
    assert levels[10].one_shot_counts is not None
    assert levels[40].kept < 50
    assert levels[40].one_shot_counts is None


def test_listed_densities_must_fall() -> None:
    with pytest.raises(ValueError, match="highest first"):
        ListedDensities(rule="listed", densities=[0.5, 0.6])


@given(counts=st.lists(st.integers(0, 500), min_size=1, max_size=8), data=st.data())
def test_equal_rates_are_the_general_rule(counts: list[int], data: st.DataObject) -> None:
    """Whole-number arithmetic against fractions: a rate of 1.0 that is named takes the general way."""
    current = {f"layer{i}": count for i, count in enumerate(counts)}
    total = data.draw(st.integers(0, sum(counts)))
    assert layerwise_counts(current, total, {}) == layerwise_counts(current, total, dict.fromkeys(current, 1.0))


@given(
    data=st.data(),
    sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=6),
    rates=st.lists(st.sampled_from([1.0, 0.5, 0.1, 0.75, 1 / 3]), min_size=6, max_size=6),
)
def test_counts_are_those_of_exact_fractions(data: st.DataObject, sizes: list[int], rates: list[float]) -> None:
    """The slow reference: count * (1 - p * rate) as a Fraction, floors, then the largest remainders in order."""
    current = {f"l{i}": size for i, size in enumerate(sizes)}
    weight = {name: Fraction(rate) for name, rate in zip(current, rates, strict=False)}
    total = data.draw(st.integers(0, sum(sizes)))
    removable = sum((count * weight[name] for name, count in current.items()), Fraction())
    given_rates = {name: rate for name, rate in zip(current, rates, strict=False) if rate != 1.0}
    surplus = sum(sizes) - total
    if surplus and surplus * max(weight[n] for n, count in current.items() if count) > removable:
        with pytest.raises(ValueError, match="cannot be reached"):
            layerwise_counts(current, total, given_rates)
        return
    p = surplus / removable if surplus else Fraction()
    shares = {name: count * (1 - p * weight[name]) for name, count in current.items()}
    expected = {name: int(share) for name, share in shares.items()}
    for name in sorted(shares, key=lambda n: expected[n] - shares[n])[: total - sum(expected.values())]:
        expected[name] += 1
    assert layerwise_counts(current, total, given_rates) == expected
