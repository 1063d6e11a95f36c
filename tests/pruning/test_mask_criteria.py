"""Zhou et al.'s criteria: each by its words, weight by weight; quadrants of the two-sided ones; ranks after pruning."""

from __future__ import annotations

import pytest
import torch
from mlp_values import Values, drawn, network

from baselines.mask_criteria import CRITERIA, MaskCriterion

INITIAL, TRAINED = drawn(seed=8), drawn(seed=9)


def sign(x: float) -> int:
    return (x > 0) - (x < 0)


def in_words(criterion: str, wi: float, wf: float) -> float:
    """The score of one weight, for the criteria that look at nothing else."""
    size = abs(wf) - abs(wi) if criterion.startswith("magnitude_increase") else abs(wf)
    if criterion.endswith("same_sign"):
        return size if sign(wi) == sign(wf) else 0.0
    if criterion.endswith("diff_sign"):
        return size if sign(wi) != sign(wf) else 0.0
    others = {"small_final": -abs(wf), "large_init": abs(wi), "small_init": -abs(wi), "movement": abs(wf - wi)}
    return others.get(criterion, size)


def scores(criterion: str, initial: Values = INITIAL, trained: Values = TRAINED, masks: Values | None = None) -> Values:
    """By the pruner."""
    return MaskCriterion(criterion).score(network(trained, initial=initial, masks=masks), None, torch.Generator())


@pytest.mark.parametrize("criterion", sorted(set(CRITERIA) - {"large_init_large_final", "small_init_small_final"}))
def test_each_criterion_by_its_words(criterion: str) -> None:
    for name, given in scores(criterion).items():
        pairs = zip(INITIAL[name].flatten().tolist(), TRAINED[name].flatten().tolist(), strict=True)
        assert given.flatten().tolist() == pytest.approx([in_words(criterion, wi, wf) for wi, wf in pairs], rel=1e-15)


@pytest.mark.parametrize(("criterion", "factor"), [("large_init_large_final", 1), ("small_init_small_final", -1)])
def test_two_sided_criteria_keep_a_quadrant_of_equal_percentiles(criterion: str, factor: int) -> None:
    """By brute force: what is among the p highest of both, for every p."""
    for name, given in scores(criterion).items():
        wi, wf = (factor * values[name].abs().flatten() for values in (INITIAL, TRAINED))
        for p in range(1, len(wi) + 1):
            inside = (wi >= wi.sort(descending=True).values[p - 1]) & (wf >= wf.sort(descending=True).values[p - 1])
            assert torch.equal(given.flatten() >= len(wi) - p, inside)


def test_what_is_pruned_moves_no_rank() -> None:
    """In later rounds of an iterative schedule the initial value of a pruned weight counts for nothing."""
    masks = {n: v.abs() > 0.5 for n, v in TRAINED.items() if n.endswith("weight")}
    for criterion in ("large_init_large_final", "small_init_small_final"):
        given = scores(criterion, masks=masks)
        other = {n: torch.where(masks[n], v, 100.0) if n in masks else v for n, v in INITIAL.items()}
        assert all(torch.equal(given[n], scores(criterion, other, masks=masks)[n]) for n in masks)
        for name, mask in masks.items():  # and those left are ranked as if they were alone
            alone = CRITERIA[criterion](INITIAL[name][mask], TRAINED[name][mask])
            assert torch.equal(given[name][mask].argsort(stable=True), alone.argsort(stable=True))


def test_float32_weights_are_compared_in_float64() -> None:
    """1 + 2^-23 - 2^-24 is no float32: the difference of two near magnitudes keeps its digits."""
    one = {n: torch.ones_like(v) for n, v in INITIAL.items()}
    near = {n: v.float() + 2.0**-23 for n, v in one.items()}
    small = {n: torch.full_like(v, 2.0**-25).float() for n, v in one.items()}
    given = MaskCriterion("movement").score(network(near, initial=small), None, torch.Generator())
    assert all(s.dtype == torch.float64 and bool((s == 1 + 2.0**-23 - 2.0**-25).all()) for s in given.values())


def test_an_unknown_criterion_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="there is no 'largest', only large_final, small_final"):
        MaskCriterion("largest")
