"""The highest of many scores, exactly: a sample says where the cut is near, and only what lies near it is ranked.

A round of a hundred drops one weight in twenty. Sorting what is left, or selecting from all of it, moves every score
several times; here each is compared once. Scores made to mislead the sample cost time, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.pruning.mask_index import count as kept_count
from benchmark.pruning.mask_index import only, places, without

SAMPLED = 8192
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Ranked:
    """The scores of one tensor under its mask. `values`: flat, of every entry or only of what `mask` keeps."""

    values: Scores
    mask: Tensor

    @staticmethod
    def of(scores: Tensor, mask: Tensor) -> Ranked:
        """Scores in the mask's shape, or one for each entry that it keeps."""
        return Ranked(scores.detach().double().numpy().reshape(-1), mask)

    @cached_property
    def left(self) -> int:
        """How many entries the mask keeps."""
        return kept_count(self.mask)

    @property
    def own(self) -> bool:
        """Whether every value is of an entry that the mask keeps."""
        return len(self.values) == self.left

    @property
    def _alive(self) -> NDArray[np.bool_]:
        alive: NDArray[np.bool_] = self.mask.numpy().reshape(-1)
        return alive

    def sample(self, step: int) -> Scores:
        """Every `step`th value of what the mask keeps, about."""
        values = self.values[::step]
        return values if self.own else values[self._alive[::step]]

    def beyond(self, bound: float, high: bool) -> NDArray[np.intp]:
        """Where in `values` what the mask keeps is from `bound` up (`high`) or down, in order."""
        found = self.values >= bound if high else self.values <= bound
        return np.flatnonzero(found if self.own else found & self._alive)

    def narrowed(self, chosen: NDArray[np.intp], stay: bool) -> Tensor:
        """The mask in which only what stands at `chosen` in `values` stays, or all but that."""
        of_everything = len(self.values) == self.mask.numel()
        at = chosen if of_everything else places(self.mask).take(chosen)
        return only(self.mask, at) if stay else without(self.mask, at, None if of_everything else chosen)


def highest(parts: Sequence[Ranked], count: int) -> list[Tensor]:
    """The mask of each part in which exactly `count` entries of all stay: highest first, then lower index first.

    Parts are ranked as one, one after another. Raises ValueError if fewer are left.
    """
    total = sum(part.left for part in parts)
    if count > total:
        raise ValueError(f"{count} weights asked for, {total} left")
    few = min(count, total - count)  # what is fewer is looked for
    if few == 0:
        return [part.mask.clone() if count else torch.zeros_like(part.mask) for part in parts]
    stay = few == count
    near, values = _near(parts, few, total, stay)
    chosen = _highest_first(values, few) if stay else _lowest_last(values, few)
    taken = np.split(chosen, np.cumsum([len(own) for own in near])[:-1])
    return [part.narrowed(own[of_it], stay) for part, own, of_it in zip(parts, near, taken, strict=True)]


def _near(parts: Sequence[Ranked], few: int, total: int, high: bool) -> tuple[list[NDArray[np.intp]], Scores]:
    """(where in the values of each part, all these values) of at least the `few` highest, or lowest, ties included."""
    bound = _bound(parts, few / total, high)
    near = [part.beyond(bound, high) for part in parts]
    if sum(map(len, near)) < few:  # the sample was wrong
        near = [part.beyond(-math.inf, high=True) for part in parts]
    return near, np.concatenate([part.values.take(own) for part, own in zip(parts, near, strict=True)])


def _bound(parts: Sequence[Ranked], share: float, high: bool) -> float:
    """What, by a sample, surely a `share` of all values reach from above (`high`) or from below."""
    step = max(1, sum(len(part.values) for part in parts) // SAMPLED)
    sample = np.sort(np.concatenate([part.sample(step) for part in parts]))
    if high:
        sample = sample[::-1]
    place = share * len(sample) + 4 * math.sqrt(share * (1 - share) * len(sample)) + 1  # four standard deviations on
    return float(sample[int(place)]) if place < len(sample) else (-math.inf if high else math.inf)


def _highest_first(values: Scores, count: int) -> NDArray[np.bool_]:
    """(n,) of the `count` highest; of equal ones the first."""
    kth = np.partition(values, len(values) - count)[len(values) - count]
    chosen: NDArray[np.bool_] = values > kth
    chosen[np.flatnonzero(values == kth)[: count - int(np.count_nonzero(chosen))]] = True
    return chosen


def _lowest_last(values: Scores, count: int) -> NDArray[np.bool_]:
    """(n,) of the `count` lowest; of equal ones the last."""
    return _highest_first(-values[::-1], count)[::-1]
