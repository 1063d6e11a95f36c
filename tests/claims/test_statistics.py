"""Statistics against hand calculations, scipy's own tests, properties and simulated error rates."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import fmean, stdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmark.claims import statistics as s
from benchmark.claims.rules.sampling import mean_curve
from benchmark.claims.rules.shape import crossing, interpolated
from benchmark.claims.statistics import pooled_sd

SAMPLES = st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=2, max_size=8)


def test_estimate_by_hand() -> None:
    e = s.estimate([1.0, 2.0, 3.0])
    assert (e.mean, e.df, e.n) == (2.0, 2.0, 3)
    assert e.se == pytest.approx(1 / math.sqrt(3))
    low, high = s.interval(e, 0.95)
    assert (low, high) == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)), rel=1e-6)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12))
@settings(max_examples=200, deadline=None)
def test_the_spread_is_the_exact_standard_deviation(values: list[float]) -> None:
    assert s.spread(values) == pytest.approx(stdev(values), rel=1e-12, abs=1e-150)  # squares of less are 0
    assert s.spread([values[0]] * len(values)) == 0.0


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_an_estimate_needs_finite_values(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        s.estimate(values)


def test_one_seed_decides_nothing() -> None:
    e = s.estimate([5.0])
    assert s.interval(e, 0.95) == (-math.inf, math.inf)
    assert s.p_inside(e, 4.9, 5.1) == s.p_outside(e, 6.0, 7.0) == s.p_above(e, 0.0) == 1.0


def test_equal_values_have_the_spread_of_their_grid() -> None:
    assert s.estimate([3.0, 3.0], resolution=0.6).sd == pytest.approx(0.6 / math.sqrt(12))
    assert s.estimate([1.0, 5.0], resolution=0.6).sd == pytest.approx(math.sqrt(8))


@pytest.mark.parametrize(
    ("value", "above", "inside"), [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (-1.0, 1.0, 0.0), (2.0, 0.0, 1.0), (9.0, 0.0, 1.0)]
)
def test_zero_variance_without_nan(value: float, above: float, inside: float) -> None:
    e = s.estimate([value, value, value])
    assert s.p_above(e, 0.0) == above
    assert s.p_inside(e, -2.0, 2.0) == inside  # a mean on the bound is not inside
    assert s.p_outside(e, -2.0, 2.0) == (0.0 if abs(value) > 2 else 1.0)
    assert s.difference(e, e).df > 0


@given(SAMPLES, SAMPLES)
@settings(max_examples=60, deadline=None)
def test_difference_is_welchs_test(a: list[float], b: list[float]) -> None:
    if np.std(a) < 1e-3 or np.std(b) < 1e-3:
        return
    e = s.difference(s.estimate(a), s.estimate(b))
    theirs = stats.ttest_ind(a, b, equal_var=False)
    assert e.df == pytest.approx(theirs.df)
    assert s.p_outside(e, 0.0, 0.0) == pytest.approx(theirs.pvalue, abs=1e-9)


@given(SAMPLES, st.floats(-100, 100))
@settings(max_examples=60, deadline=None)
def test_one_sided_tests_are_scipys(values: list[float], bound: float) -> None:
    if np.std(values) < 1e-3:
        return
    e = s.estimate(values)
    assert s.p_above(e, bound) == pytest.approx(
        stats.ttest_1samp(values, bound, alternative="greater").pvalue, abs=1e-9
    )
    assert s.p_below(e, bound) == pytest.approx(stats.ttest_1samp(values, bound, alternative="less").pvalue, abs=1e-9)


@given(SAMPLES, st.floats(-50, 50), st.floats(0.1, 50))
@settings(max_examples=100, deadline=None)
def test_two_one_sided_tests_are_the_90_percent_interval(values: list[float], centre: float, margin: float) -> None:
    e = s.estimate(values, 0.01)
    low, high = s.interval(e, 0.90)
    if min(abs(low - centre + margin), abs(high - centre - margin)) < 1e-6:
        return
    assert (s.p_inside(e, centre - margin, centre + margin) <= 0.05) == (
        low > centre - margin and high < centre + margin
    )


@given(SAMPLES, st.floats(-50, 50), st.floats(0.1, 50))
@settings(max_examples=100, deadline=None)
def test_outside_means_the_95_percent_interval_is_and_never_inside_too(
    values: list[float], centre: float, margin: float
) -> None:
    e = s.estimate(values, 0.01)
    low, high = s.interval(e, 0.95)
    if min(abs(high - centre + margin), abs(low - centre - margin)) < 1e-6:
        return
    outside = s.p_outside(e, centre - margin, centre + margin) <= 0.05
    assert outside == (high < centre - margin or low > centre + margin)
    assert not (outside and s.p_inside(e, centre - margin, centre + margin) <= 0.05)


def test_published_mean_with_pooled_sd() -> None:
    e = s.difference(s.estimate([10.0, 11.0, 12.0]), s.known(10.0, 2.0, 4, df=100))
    assert e.mean == pytest.approx(1.0)
    assert e.se == pytest.approx(math.sqrt(1 / 3 + 1))
    assert e.df == pytest.approx((1 / 3 + 1) ** 2 / ((1 / 3) ** 2 / 2 + 1 / 100))


def test_holm_by_hand() -> None:
    assert s.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert s.holm([]) == []
    assert s.holm([0.5, 0.9]) == [1.0, 1.0]


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=3), min_size=1, max_size=6))
def test_holm_over_groups_decides_groups_as_holm_does(groups: list[list[float]]) -> None:
    adjusted = s.holm_over_groups(groups)
    assert [max(g) for g in adjusted] == pytest.approx(s.holm([max(g) for g in groups]))
    assert all(a >= p for g, h in zip(groups, adjusted, strict=True) for p, a in zip(g, h, strict=True))


@given(st.lists(st.floats(-10, 10).map(lambda x: round(x, 2)), min_size=2, max_size=7))
def test_jackknife_of_a_mean_is_the_t_estimate(values: list[float]) -> None:
    found, plain = s.jackknife(fmean, values, 0.01), s.estimate(values, 0.01)
    assert (found.mean, found.se, found.df) == pytest.approx((plain.mean, plain.se, plain.df), abs=1e-9)


def test_jackknife_interval_covers_a_crossing() -> None:
    rng = np.random.default_rng(1)
    levels, hits = list(range(0, 13)), 0
    for _ in range(200):
        curves = [[0.0, *(0.1 * (8.4 - x) + rng.normal(0, 0.05) for x in levels[1:])] for _ in range(5)]
        low, high = s.interval(s.jackknife(lambda rows: crossing(levels, mean_curve(rows)), curves, 1.0), 0.95)
        hits += low <= 8.4 <= high
    assert hits >= 180


@given(SAMPLES, SAMPLES, st.floats(0.1, 50))
@settings(max_examples=60, deadline=None)
def test_equivalence_is_two_of_scipys_one_sided_welch_tests(a: list[float], b: list[float], margin: float) -> None:
    if np.std(a) < 1e-3 or np.std(b) < 1e-3:
        return
    above = stats.ttest_ind(np.add(a, margin), b, equal_var=False, alternative="greater").pvalue
    below = stats.ttest_ind(np.subtract(a, margin), b, equal_var=False, alternative="less").pvalue
    e = s.difference(s.estimate(a), s.estimate(b))
    assert s.p_inside(e, -margin, margin) == pytest.approx(max(above, below), abs=1e-9)


@given(SAMPLES, st.sampled_from([0.8, 0.9, 0.95, 0.99]))
@settings(max_examples=60, deadline=None)
def test_intervals_are_scipys(values: list[float], confidence: float) -> None:
    if np.std(values) < 1e-3:
        return
    theirs = stats.ttest_1samp(values, 0.0).confidence_interval(confidence)
    assert s.interval(s.estimate(values), confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_simes_and_bonferroni(p_values: list[float]) -> None:
    """Never above Bonferroni's p values, never below those of a procedure that controls less (Benjamini-Hochberg)."""
    holm = s.holm(p_values)
    assert all(h <= min(1.0, len(p_values) * p) + 1e-12 for h, p in zip(holm, p_values, strict=True))
    weaker = stats.false_discovery_control(p_values, method="bh")
    assert all(h >= w - 1e-9 for h, w in zip(holm, weaker, strict=True))


def test_crossings_by_hand() -> None:
    assert crossing([0, 2, 4], [0.0, 1.0, -1.0]) == pytest.approx(3.0)
    assert crossing([0, 1, 2, 3], [0.0, -1.0, 1.0, -3.0]) == pytest.approx(2.25)  # the last crossing, for good
    assert crossing([0, 1, 2], [0.0, -1.0, -2.0]) == 0.0
    assert crossing([0, 1, 2], [0.0, -1.0, 2.0]) == 2.0  # not seen: at or beyond the last level
    assert interpolated([0, 3, 7], [0.0, 3.0, 5.0], 5.0) == pytest.approx(4.0)
    assert interpolated([0, 3], [1.0, 2.0], 9.0) == 2.0


def test_pooled_sd_by_hand() -> None:
    assert pooled_sd([[1.0, 3.0], [5.0, 5.0], [2.0]]) == (pytest.approx(1.0), 2)
    with pytest.raises(ValueError, match="two values"):
        pooled_sd([[1.0], [2.0]])


@pytest.mark.parametrize(("distance", "sd", "alpha"), [(1.0, 1.0, 0.05), (0.5, 1.0, 0.05), (1.0, 1.0, 0.005)])
def test_seeds_needed_give_the_power_promised(distance: float, sd: float, alpha: float) -> None:
    n = s.seeds_needed(distance, sd, alpha)
    assert n is not None

    def power(n: int) -> float:
        critical = stats.t.ppf(1 - alpha, n - 1)
        return float(1 - stats.nct.cdf(critical, n - 1, distance / sd * math.sqrt(n)))

    assert power(n) > 0.77
    assert power(n - 2) < 0.80


def test_seeds_that_cannot_decide() -> None:
    assert s.seeds_needed(0.0, 1.0, 0.05) is None
    assert s.seeds_needed(0.001, 1.0, 0.05) is None
    assert s.seeds_needed(1.0, 1.0, 0.05, fixed_se=0.6) is None  # the published mean is itself too vague
    assert s.seeds_needed(1.0, 0.0, 0.05) == 2


def test_groups_hold_what_is_not_told_apart() -> None:
    a = dict(enumerate([90.0, 91.0, 92.0, 93.0, 94.0]))
    b = {seed: value + noise for (seed, value), noise in zip(a.items(), [0.1, -0.1, 0.05, -0.05, 0.02], strict=True)}
    c = {seed: value - 5 + 0.1 * seed for seed, value in a.items()}
    assert s.groups({"c": c, "a": a, "b": b}, 0.05, 0.01) == [["b", "a"], ["c"]]


def test_groups_need_two_common_seeds() -> None:
    assert s.groups({"a": {0: 99.0, 1: 98.9}, "b": {1: 10.0, 2: 10.1}}, 0.05, 0.01) == [["a", "b"]]
    assert s.groups({}, 0.05, 0.01) == []


SEEDS = st.dictionaries(st.integers(0, 4), st.floats(0, 100).map(lambda x: round(x, 1)), min_size=1, max_size=5)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), SEEDS, max_size=6))
def test_no_higher_mean_is_in_a_later_group(samples: dict[str, dict[int, float]]) -> None:
    """Whatever was measured of whichever seeds; and a reader can check each group by its tests."""
    found, lower = s.groups(samples, 0.05, 0.1), s.beaten(samples, 0.05, 0.1)
    assert sorted(name for group in found for name in group) == sorted(samples)
    means = [fmean(samples[name].values()) for group in found for name in group]
    assert means == sorted(means, reverse=True)
    for group in found:
        assert not any(a in lower[b] for a in group for b in group)
    for above, group in pairwise(found):
        assert any(group[0] in lower[name] or name in lower[group[0]] for name in above)


def test_paired_uses_common_seeds_only() -> None:
    assert s.paired({0: 5.0, 1: 7.0, 4: 1.0}, {1: 2.0, 4: 2.0, 9: 0.0}) == [5.0, -1.0]


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_mean_on_the_margin_is_falsely_reproduced_at_most_5_percent(n: int) -> None:
    rng = np.random.default_rng(2)
    draws = 2000
    wrong = sum(s.p_inside(s.estimate(list(rng.normal(0.5, 0.2, n))), -0.5, 0.5) <= 0.05 for _ in range(draws))
    assert wrong / draws < 0.05 + 3 * math.sqrt(0.05 * 0.95 / draws)


def test_no_ordering_is_falsely_reproduced_or_contradicted_too_often() -> None:
    rng = np.random.default_rng(3)
    draws, family = 1000, 4
    wrong = 0
    for _ in range(draws):
        found = [s.estimate(list(rng.normal(0, 1, 4))) for _ in range(family)]
        wrong += min(s.holm([s.p_above(e, 0.0) for e in found])) <= 0.05
    assert 0.02 < wrong / draws < 0.05 + 3 * math.sqrt(0.05 * 0.95 / draws)
