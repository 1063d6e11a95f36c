"""Masks against hand-worked cases and against a slow reference: Python's own stable sort."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from benchmark.pruning import sparse as index
from benchmark.pruning.masks import check_scores, full_masks, keep_highest, masks_from_scores, shuffled
from benchmark.pruning.masks import tensor_mask_digest as mask_digest
from benchmark.utils.errors import BadPruner


def bits(text: str) -> Tensor:
    """'1 0 1' -> boolean tensor."""
    return torch.tensor([character == "1" for character in text.replace(" ", "")])


def reference(scores: list[float], alive: list[bool], count: int) -> list[bool]:
    """Survivors by sorting (score descending, index ascending) in plain Python."""
    candidates = [i for i in range(len(scores)) if alive[i]]
    kept = set(sorted(candidates, key=lambda i: (-scores[i], i))[:count])
    return [i in kept for i in range(len(scores))]


@pytest.mark.parametrize(
    ("scores", "alive", "count", "kept"),
    [
        ([3.0, 1.0, 3.0, 2.0, 3.0], "11111", 2, "10100"),  # three tie for two places: the lower indices stay
        ([3.0, 1.0, 3.0, 2.0, 3.0], "11111", 4, "10111"),
        ([0.0, 0.0, 0.0, 0.0], "1111", 3, "1110"),
        ([0.0, -0.0, 0.0, -0.0], "1111", 2, "1100"),  # both zeros are equal
        ([-5.0, -1.0, -9.0], "111", 1, "010"),
        ([9.0, 1.0, 2.0, 9.0], "0110", 1, "0010"),  # the pruned hold the highest scores and stay pruned
        ([0.0, -7.0, -8.0], "011", 2, "011"),  # a pruned 0 ranks below a kept -8
        ([1.0, 2.0], "11", 0, "00"),
    ],
)
def test_hand_worked(scores: list[float], alive: str, count: int, kept: str) -> None:
    assert torch.equal(keep_highest(torch.tensor(scores), bits(alive), count), bits(kept))


def test_scores_are_compared_in_float64() -> None:
    close = torch.tensor([1.0, 1.0 + 1e-12], dtype=torch.float64)
    assert torch.equal(keep_highest(close, bits("11"), 1), bits("01"))


def test_more_than_is_left_is_refused() -> None:
    with pytest.raises(ValueError, match=r"3 weights asked for, 2 left"):
        keep_highest(torch.zeros(4), bits("0110"), 3)


def test_ties_across_tensors_go_by_group_order() -> None:
    scores = {"b": torch.ones(2, 2), "a": torch.ones(3)}
    masks = full_masks({"b": (2, 2), "a": (3,)})
    kept = masks_from_scores(scores, masks, {"all": ["b", "a"]}, {"all": 5})
    assert torch.equal(kept["b"], torch.ones(2, 2, dtype=torch.bool))
    assert torch.equal(kept["a"], bits("100"))
    kept = masks_from_scores(scores, masks, {"all": ["a", "b"]}, {"all": 5})
    assert torch.equal(kept["b"], bits("1100").reshape(2, 2))


def test_groups_do_not_compete() -> None:
    scores = {"low": torch.tensor([0.1, 0.2]), "high": torch.tensor([5.0, 6.0])}
    masks = full_masks({"low": (2,), "high": (2,)})
    kept = masks_from_scores(scores, masks, {"low": ["low"], "high": ["high"]}, {"low": 1, "high": 1})
    assert torch.equal(kept["low"], bits("01"))
    assert torch.equal(kept["high"], bits("01"))


ranked = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(-3, 3), min_size=n, max_size=n), st.lists(st.booleans(), min_size=n, max_size=n)
    )
)


@given(case=ranked, fraction=st.fractions(0, 1))
def test_agrees_with_a_plain_sort(case: tuple[list[int], list[bool]], fraction: float) -> None:
    scores, alive = case
    count = int(sum(alive) * fraction)
    kept = keep_highest(torch.tensor(scores, dtype=torch.float32), torch.tensor(alive), count)
    assert kept.tolist() == reference([float(s) for s in scores], alive, count)


@given(data=st.data(), rows=st.integers(1, 5), columns=st.integers(1, 5), biases=st.integers(1, 6))
def test_rounds_are_exact_and_nested(data: st.DataObject, rows: int, columns: int, biases: int) -> None:
    """Three rounds over two tensors as one vector: the right count each time, and nothing comes back."""
    size = rows * columns + biases
    counts = sorted(data.draw(st.lists(st.integers(0, size), min_size=3, max_size=3)), reverse=True)
    masks = full_masks({"weight": (rows, columns), "bias": (biases,)})
    for count in counts:
        values = torch.tensor(data.draw(st.lists(st.integers(-2, 2), min_size=size, max_size=size)))
        weight, bias = values.split([rows * columns, biases])
        before = torch.cat([masks["weight"].flatten(), masks["bias"]])
        scores = {"weight": weight.reshape(rows, columns), "bias": bias}
        masks = masks_from_scores(scores, masks, {"all": ["weight", "bias"]}, {"all": count})
        after = torch.cat([masks["weight"].flatten(), masks["bias"]])
        assert after.tolist() == reference(values.tolist(), before.tolist(), count)
        assert masks["weight"].shape == (rows, columns)


def test_shuffle_keeps_counts_per_layer_and_moves_between_its_tensors() -> None:
    masks = {"l1.weight": bits("111111").reshape(2, 3), "l1.bias": bits("00"), "l2.weight": bits("1000")}
    groups = {"l1": ["l1.weight", "l1.bias"], "l2": ["l2.weight"]}
    seen = [shuffled(masks, groups, torch.Generator().manual_seed(seed)) for seed in range(20)]
    for each in seen:
        assert int(each["l1.weight"].sum() + each["l1.bias"].sum()) == 6
        assert int(each["l2.weight"].sum()) == 1
        assert {name: mask.shape for name, mask in each.items()} == {name: mask.shape for name, mask in masks.items()}
    assert {int(each["l1.bias"].sum()) for each in seen} == {0, 1, 2}  # weight and bias share one mask
    again = shuffled(masks, groups, torch.Generator().manual_seed(3))
    assert all(torch.equal(again[name], seen[3][name]) for name in masks)
    assert torch.equal(masks["l1.bias"], bits("00"))  # the parent's mask is not touched


def test_shuffle_is_uniform_over_arrangements() -> None:
    rng = torch.Generator().manual_seed(0)
    counted = Counter(
        tuple(shuffled({"w": bits("1100")}, {"l": ["w"]}, rng)["w"].tolist()) for _ in range(3000)
    )  # six arrangements, 500 expected of each, standard deviation 20.4
    assert len(counted) == 6
    assert all(abs(times - 500) < 5 * 20.4 for times in counted.values())


def test_digest_sees_every_bit_name_and_shape_and_no_order() -> None:
    masks = {"a": bits("1011"), "b": bits("01")}
    digests = {
        mask_digest(masks),
        mask_digest({**masks, "a": bits("1010")}),
        mask_digest({**masks, "a": bits("1011").reshape(2, 2)}),
        mask_digest({"a": masks["a"], "c": masks["b"]}),
    }
    assert len(digests) == 4
    assert mask_digest({"b": masks["b"], "a": masks["a"]}) == mask_digest(masks)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 4])
def test_one_score_that_is_not_finite_is_seen(bad: float, place: int) -> None:
    """Also beside its opposite, with which it sums to NaN; finite scores may sum to more than a number holds."""
    weights = {"w": torch.zeros(5)}
    check_scores({"w": torch.full((5,), 1.7e308, dtype=torch.float64)}, weights, "p")
    scores = torch.zeros(5, dtype=torch.float64)
    scores[2], scores[place] = -bad, bad
    with pytest.raises(BadPruner, match="NaN or infinite"):
        check_scores({"w": scores}, weights, "p")


@given(data=st.data())
def test_tensors_compete_as_one_whether_scored_whole_or_in_part(data: st.DataObject) -> None:
    """Against a stable sort of all that is left, ties and all; masks are new ones, and their places are right."""
    masks, scores, left_scores, owners = {}, {}, [], []
    for name in data.draw(st.sampled_from(["a", "ab", "abc"])):
        size = data.draw(st.integers(1, 12))
        mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
        every = torch.tensor(data.draw(st.lists(st.integers(-2, 2), min_size=size, max_size=size))).double()
        masks[name], scores[name] = mask, every[mask] if data.draw(st.booleans()) else every
        left_scores += every[mask].tolist()
        owners += [(name, place) for place in np.flatnonzero(mask)]
    total = data.draw(st.integers(0, len(owners)))
    stay = sorted(range(len(owners)), key=lambda i: -left_scores[i])[:total]
    before = {name: mask.clone() for name, mask in masks.items()}
    after = masks_from_scores(scores, masks, {"all": list(masks)}, {"all": total})
    assert sorted((n, p) for n, m in after.items() for p in np.flatnonzero(m)) == sorted(owners[i] for i in stay)
    for name, mask in after.items():
        assert torch.equal(masks[name], before[name])
        assert mask.data_ptr() != masks[name].data_ptr()
        assert index.positions(mask).tolist() == mask.flatten().nonzero().flatten().tolist()


def test_places_follow_a_mask_that_is_changed() -> None:
    mask = torch.tensor([[True, False], [False, True]])
    assert index.positions(mask).tolist() == [0, 3]
    mask[0, 1] = True
    assert (index.positions(mask).tolist(), index.kept_count(mask)) == ([0, 1, 3], 3)
    with torch.inference_mode():
        uncounted = torch.tensor([False, True])
    assert index.positions(uncounted).tolist() == [1]
    with torch.inference_mode():
        uncounted[0] = True
    assert index.positions(uncounted).tolist() == [0, 1]


def test_a_mask_without_some_of_its_entries() -> None:
    """On both sides of the density from which places are taken out of those that are known."""
    for kept in (40, 10):
        mask = torch.zeros(10, 10, dtype=torch.bool).t()
        mask[:, : kept // 10] = True
        among = np.array([0, 3, kept - 1])
        narrower = index.without(mask, index.positions(mask)[among], among)
        expected = np.delete(mask.flatten().nonzero().flatten().numpy(), among)
        assert (
            index.positions(narrower).tolist() == expected.tolist() == narrower.flatten().nonzero().flatten().tolist()
        )
        assert index.kept_count(mask) == kept
