"""The highest of many scores, against sorting."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmark.pruning.topk import SAMPLED, by_sorting, keep_top


@given(
    st.lists(st.one_of(st.floats(width=32, allow_nan=False), st.sampled_from([0.0, 1.0])), min_size=1, max_size=60),
    st.floats(0, 1),
    st.integers(0, 60),
)
def test_as_a_stable_sort_has_them(values: list[float], share: float, cut: int) -> None:
    """Highest first, then lower index, over two tensors that compete as one."""
    whole, count, cut = torch.tensor(values), int(share * len(values)), min(cut, len(values))
    kept = torch.cat(keep_top([whole[:cut], whole[cut:]], count))
    order = sorted(range(len(values)), key=lambda place: (-float(whole[place]), place))
    assert kept.nonzero().flatten().tolist() == sorted(order[:count])
    assert torch.equal(by_sorting(whole, count), kept)  # as on CUDA


@pytest.mark.parametrize("share", [0.001, 0.025, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["random", "misleading", "ties"])
def test_large_tensors(share: float, kind: str) -> None:
    """Where a sample finds the cut, where what is sampled misleads it, and where most scores are one."""
    size = 8 * SAMPLED + 3
    values = torch.rand(size, generator=torch.Generator().manual_seed(1))
    if kind == "misleading":
        values[::8] += 10
    if kind == "ties":
        values = (values * 4).floor()
    count = round(share * size)
    (kept,) = keep_top([values.reshape(1, -1)], count)
    expected = torch.zeros(size, dtype=torch.bool)
    expected[values.argsort(descending=True, stable=True)[:count]] = True
    assert torch.equal(kept.flatten(), expected)


def test_nan_is_lowest_and_too_many_are_refused() -> None:
    values = torch.tensor([float("nan"), -1.0, 2.0, float("nan")])
    assert keep_top([values], 3)[0].tolist() == by_sorting(values, 3).tolist() == [True, True, True, False]
    with pytest.raises(ValueError, match="5 entries asked for, 4 are there"):
        keep_top([values], 5)
