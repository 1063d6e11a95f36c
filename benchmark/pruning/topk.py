"""The highest of many scores, again at every update: exact counts, ties to the lower index, on the scores' device.

A mask that is learned is cut anew for every batch. To sort two million scores takes one core longer than the update
does, so on a CPU a sample tells between which two values the cut surely lies, and only what lies there is ranked.
Scores that mislead the sample cost time, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SAMPLED = 16384  # scores that the cut is estimated from
DEVIATIONS = 5.0  # of that estimate, by which the band around it is wider on either side


def keep_top(scores: Sequence[Tensor], count: int) -> list[Tensor]:
    """Boolean masks, of the shape of each tensor, in which exactly `count` entries of all stay: the highest, and of
    equal ones the first.

    Tensors compete as one vector, one after another. NaN ranks lowest. Raises ValueError if there are fewer.
    """
    sizes = [part.numel() for part in scores]
    if not 0 <= count <= sum(sizes):
        raise ValueError(f"{count} entries asked for, {sum(sizes)} are there")
    whole = (
        scores[0].detach().flatten() if len(scores) == 1 else torch.cat([part.detach().flatten() for part in scores])
    )
    parts = torch.split(chosen(whole, count), sizes)
    return [part.reshape(like.shape) for part, like in zip(parts, scores, strict=True)]


def chosen(values: Tensor, count: int) -> Tensor:
    """(n,) of the `count` highest, the quicker way on each device."""
    on_cpu = values.device.type == "cpu"
    return torch.from_numpy(_of_band(values.numpy(), count)) if on_cpu else by_sorting(values, count)


def by_sorting(values: Tensor, count: int) -> Tensor:
    """(n,) of the `count` highest: the same work whatever the values, which a captured CUDA graph can hold."""
    order = torch.where(values.isnan(), -math.inf, values).argsort(descending=True, stable=True)
    return torch.zeros_like(values, dtype=torch.bool).scatter_(0, order[:count], value=True)


def _of_band(values: NDArray[np.floating], count: int) -> NDArray[np.bool_]:
    """(n,) of the `count` highest: all above a band that holds the cut, and the highest in it."""
    size = len(values)
    if count in (0, size):
        return np.full(size, count == size)
    low, high = _bounds(values, count / size)
    kept = values > high
    near = np.flatnonzero((values >= low) & ~kept)
    wanted = count - int(np.count_nonzero(kept))
    if not 0 <= wanted <= len(near):  # the sample was wrong
        kept, near, wanted = np.zeros(size, np.bool_), np.arange(size), count
    kept[near[_highest(values[near], wanted)]] = True
    return kept


def _bounds(values: NDArray[np.floating], share: float) -> tuple[float, float]:
    """Two values between which, by a sample, the `share` of highest values surely ends."""
    sample = np.sort(values[:: max(1, len(values) // SAMPLED)])
    place = (1 - share) * len(sample)
    reach = DEVIATIONS * math.sqrt(share * (1 - share) * len(sample)) + 2
    low, high = int(place - reach), math.ceil(place + reach)
    return (
        float(sample[low]) if low >= 0 else -math.inf,
        float(sample[high]) if high < len(sample) else math.inf,
    )


def _highest(values: NDArray[np.floating], count: int) -> NDArray[np.bool_]:
    """(n,) of the `count` highest; of equal ones the first. NaN is lowest."""
    if count in (0, len(values)):
        return np.full(len(values), count > 0)
    ranked = np.where(np.isnan(values), -np.inf, values)
    kth = np.partition(ranked, len(ranked) - count)[len(ranked) - count]
    chosen: NDArray[np.bool_] = ranked > kth
    chosen[np.flatnonzero(ranked == kth)[: count - int(np.count_nonzero(chosen))]] = True
    return chosen
