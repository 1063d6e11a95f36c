"""Ties at random by seed: exact counts, uniform over the equal ones, one order for all rounds and both searches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmark.pruning.masks import masks_from_scores, tie_ranks

SHAPES = {"a.weight": (40, 25), "a.bias": (40,), "b.weight": (10, 96)}
TOTAL = 2000


def scores_with_ties() -> dict[str, torch.Tensor]:
    """About a quarter of the scores are 0, the others take five values."""
    rng = torch.Generator().manual_seed(0)
    return {name: torch.randint(0, 6, shape, generator=rng).clamp(min=1).sub(1.0) for name, shape in SHAPES.items()}


def ones() -> dict[str, torch.Tensor]:
    return {name: torch.ones(shape, dtype=torch.bool) for name, shape in SHAPES.items()}


def slow(scores: dict[str, torch.Tensor], count: int, seed: int) -> torch.Tensor:
    """Sorted by (score, rank) in plain Python; the ranks by whole numbers without numpy."""
    flat = torch.cat([scores[name].flatten() for name in SHAPES]).tolist()

    def rank(index: int) -> int:
        most = 2**64 - 1
        x = (seed + index * 0x9E3779B97F4A7C15) & most
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & most
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & most
        return x ^ (x >> 31)

    first = sorted(range(len(flat)), key=lambda i: (flat[i], rank(i)), reverse=True)[:count]
    return torch.zeros(len(flat), dtype=torch.bool).index_fill(0, torch.tensor(first), True)


@pytest.mark.parametrize("count", [1, 150, 999, 1000, 1001, 1700, 1999])
def test_the_cut_is_that_of_a_plain_sort_by_score_and_rank(count: int) -> None:
    """Counts below and above the half are searched from opposite ends."""
    scores = scores_with_ties()
    cut = masks_from_scores(scores, ones(), {"all": list(SHAPES)}, {"all": count}, ties_seed=2**62 + 7)
    assert torch.equal(torch.cat([cut[name].flatten() for name in SHAPES]), slow(scores, count, 2**62 + 7))


def test_rounds_are_nested_and_scores_of_what_is_left_decide_alike() -> None:
    scores, masks = scores_with_ties(), ones()
    straight = masks_from_scores(scores, masks, {"all": list(SHAPES)}, {"all": 300}, ties_seed=5)
    for count in (1500, 900, 300):
        left = {name: scores[name][masks[name]] for name in SHAPES}
        masks = masks_from_scores(left, masks, {"all": list(SHAPES)}, {"all": count}, ties_seed=5)
    assert all(torch.equal(masks[name], straight[name]) for name in SHAPES)


def test_every_one_of_the_equal_scores_stays_as_often() -> None:
    """200 seeds, 50 of 100 equal scores stay: binomial, and no trend over the index."""
    stays = np.zeros(100)
    for seed in range(200):
        cut = masks_from_scores(
            {"w": torch.zeros(100)}, {"w": torch.ones(100, dtype=torch.bool)}, {"all": ["w"]}, {"all": 50}, seed
        )
        stays += cut["w"].numpy()
    assert stays.sum() == 200 * 50
    assert stays.min() > 60
    assert stays.max() < 140
    assert abs(np.corrcoef(np.arange(100), stays)[0, 1]) < 0.35


def test_ranks_are_those_of_splitmix64() -> None:
    """The first outputs of SplitMix64 from state 0, as its reference implementation gives them."""
    ranks = tie_ranks(np.arange(1, 4), 0)
    assert ranks.tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
