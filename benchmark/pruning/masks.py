"""Masks from scores: exact counts, ties by index or at random by seed, pruned weights never return.

The highest of many scores are found exactly: a sample tells where the cut is near, and only what lies near it is
ranked. A round of a hundred drops one weight in twenty; sorting what remains, or selecting from all of it, moves every
score several times, while here each is compared once. Scores made to mislead the sample cost time, and nothing else.

Also the checks of what a plugin returned, and the shuffle of a mask within its layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.pruning.interface import Masks, Scores
from benchmark.pruning.sparse import Pattern, kept_count, only, positions, without
from benchmark.records.masks import mask_digest
from benchmark.utils.errors import BadPruner

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
RANKABLE = {*FLOATS, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool}  # exact as float64


def full_masks(shapes: Mapping[str, tuple[int, ...]]) -> Masks:
    """Masks that keep every weight."""
    return {name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()}


def keep_highest(scores: Tensor, alive: Tensor, count: int) -> Tensor:
    """Boolean (n,) keeping exactly `count` of the `alive` entries of `scores` (n,): highest first, lower index first.

    Raises ValueError if fewer are alive.
    """
    return highest([Ranked.of(scores, alive)], count)[0]


def left(scores: Tensor, mask: Tensor, inside: Tensor | None = None) -> NDArray[np.float64]:
    """The scores (n,) of what a mask keeps, in order. `scores`: of the mask's shape, or only of what it keeps.

    `inside`: a narrower mask; then those of what it keeps. By places, which takes numpy a tenth of the time of a
    look-up by a boolean mask.
    """
    values: NDArray[np.float64] = scores.detach().double().numpy().reshape(-1)
    if scores.shape == mask.shape:
        return values[positions(mask if inside is None else inside)]
    return values if inside is None else values[inside.numpy().reshape(-1)[positions(mask)]]


def whole(scores: Tensor, mask: Tensor) -> Tensor:
    """Scores of the mask's shape, of those or of the ones of what it keeps; what it does not keep scores 0."""
    if scores.shape == mask.shape:
        return scores
    return Pattern(mask).whole(scores.detach())


def masks_from_scores(
    scores: Scores,
    masks: Masks,
    groups: Mapping[str, Sequence[str]],
    counts: Mapping[str, int],
    ties_seed: int | None = None,
) -> Masks:
    """Cut every group of tensors to `counts[group]` weights. Of equal scores the lower index stays, or, with a
    `ties_seed`, the higher of the random ranks that the seed gives each index (`tie_ranks`).

    Tensors of a group compete as one vector, in the order of `groups[group]`, so weight and bias of one layer, or
    all layers under global pruning, are one ranking. Only what is left is ranked: of a hundred rounds to 1 % of the
    weights, the last fifty rank a tenth of them or less.
    """
    result: Masks = {}
    for group, names in groups.items():
        cut = highest([Ranked.of(scores[name], masks[name]) for name in names], counts[group], ties_seed)
        result.update(zip(names, cut, strict=True))
    return result


def shuffled(masks: Masks, groups: Mapping[str, Sequence[str]], rng: torch.Generator) -> Masks:
    """Each layer's mask in a random order of its own: counts per layer stay, positions do not."""
    result: Masks = {}
    for names in groups.values():
        vector = torch.cat([masks[name].flatten() for name in names])
        vector = vector[torch.randperm(len(vector), generator=rng)]
        for name, part in zip(names, torch.split(vector, [masks[name].numel() for name in names]), strict=True):
            result[name] = part.reshape(masks[name].shape)
    return result


def _finite(scores: Tensor) -> bool:
    """A sum is a tenth of the work of a look at every number; it is infinite for finite ones only if it overflows."""
    return math.isfinite(scores.sum(dtype=torch.float64)) or bool(torch.isfinite(scores).all())


def fits(scores: Tensor, mask: Tensor) -> bool:
    """Whether these are scores of a tensor with this mask: of its shape, or one for each weight that it keeps."""
    return scores.shape == mask.shape or scores.shape == (kept_count(mask),)


def check_scores(scores: Scores, masks: Masks, pruner: str) -> None:
    """Raise BadPruner unless `scores` has the names of `masks` and is finite, each tensor of a mask's shape or with one
    score for each weight that it keeps.
    """
    if not isinstance(scores, dict):
        raise BadPruner(f"pruner '{pruner}'", f"returned {type(scores).__name__}", "Return a dict of name -> scores")
    if missing := [name for name in masks if name not in scores]:
        raise BadPruner(f"pruner '{pruner}'", f"no scores for '{missing[0]}'", "Score every tensor of network.weights")
    if unknown := [name for name in scores if name not in masks]:
        raise BadPruner(
            f"pruner '{pruner}'", f"scores for unknown {str(unknown[0])[:80]!r}", "Score network.weights only"
        )
    for name, mask in masks.items():
        given = scores[name]
        if not isinstance(given, Tensor) or not fits(given, mask):
            shape = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
            raise BadPruner(
                f"pruner '{pruner}'",
                f"scores for '{name}' have shape {shape}, the weights {tuple(mask.shape)}",
                "Return one score per weight",
            )
        if given.dtype not in RANKABLE or not _finite(given):
            kind = "NaN or infinite values" if given.dtype in RANKABLE else f"values of type {given.dtype}"
            raise BadPruner(
                f"pruner '{pruner}'",
                f"scores for '{name}' hold {kind}",
                "Return finite real scores; float64 helps where float32 overflows",
            )


def check_masks(masks: Masks, before: Masks, kept: int | None, pruner: str) -> None:
    """Raise BadPruner unless `masks` are boolean, of the shapes of `before`, nested in it, and keep exactly `kept`
    (None: any number).
    """
    if not isinstance(masks, dict) or set(masks) != set(before):
        raise BadPruner(f"pruner '{pruner}'", "masks do not name the network's weights", "Mask network.weights, all")
    for name, earlier in before.items():
        mask = masks[name]
        if not isinstance(mask, Tensor) or mask.shape != earlier.shape or mask.dtype != torch.bool:
            raise BadPruner(
                f"pruner '{pruner}'",
                f"mask '{name}' is not a boolean tensor of shape {tuple(earlier.shape)}",
                "Return bool masks",
            )
        if bool((mask & ~earlier).any()):
            raise BadPruner(
                f"pruner '{pruner}'",
                f"mask '{name}' brings back weights that are already pruned",
                "Keep only weights that network.masks keeps",
            )
    total = sum(int(mask.sum()) for mask in masks.values())
    if kept is not None and total != kept:
        raise BadPruner(
            f"pruner '{pruner}'",
            f"the mask keeps {total} weights, {kept} were asked for",
            "Keep exactly that",
        )


def tensor_mask_digest(masks: Masks) -> str:
    """The digest of boolean tensors on the CPU: see `benchmark.records.masks.mask_digest`."""
    return mask_digest({name: mask.numpy() for name, mask in masks.items()})


SAMPLED = 8192  # scores that the cut is estimated from


Values = NDArray[np.float64]


@dataclass(frozen=True)
class Ranked:
    """The scores of one tensor under its mask. `values`: flat, of every entry or only of what `mask` keeps."""

    values: Values
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

    def sample(self, step: int) -> Values:
        """Every `step`th value of what the mask keeps, about."""
        values = self.values[::step]
        return values if self.own else values[self._alive[::step]]

    def beyond(self, bound: float, high: bool) -> NDArray[np.intp]:
        """Where in `values` what the mask keeps is from `bound` up (`high`) or down, in order."""
        found = self.values >= bound if high else self.values <= bound
        return np.flatnonzero(found if self.own else found & self._alive)

    def positions_of(self, chosen: NDArray[np.intp]) -> NDArray[np.intp]:
        """Index in the tensor of what stands at `chosen` in `values`."""
        return chosen if len(self.values) == self.mask.numel() else positions(self.mask).take(chosen)

    def narrowed(self, chosen: NDArray[np.intp], stay: bool) -> Tensor:
        """The mask in which only what stands at `chosen` in `values` stays, or all but that."""
        of_everything = len(self.values) == self.mask.numel()
        at = self.positions_of(chosen)
        return only(self.mask, at) if stay else without(self.mask, at, None if of_everything else chosen)


def highest(parts: Sequence[Ranked], count: int, ties_seed: int | None = None) -> list[Tensor]:
    """The mask of each part in which exactly `count` entries of all stay: highest first, then lower index first, or
    by `tie_ranks` of a seed.

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
    if ties_seed is None:
        chosen = _highest_first(values, few) if stay else _lowest_last(values, few)
    else:
        starts = np.cumsum([0, *(part.mask.numel() for part in parts)])
        index = [part.positions_of(own) + start for part, own, start in zip(parts, near, starts, strict=False)]
        chosen = _by_rank(values, few, tie_ranks(np.concatenate(index), ties_seed), stay)
    taken = np.split(chosen, np.cumsum([len(own) for own in near])[:-1])
    return [part.narrowed(own[of_it], stay) for part, own, of_it in zip(parts, near, taken, strict=True)]


def tie_ranks(index: NDArray[np.intp], seed: int) -> NDArray[np.uint64]:
    """Random ranks of entries by their index, in whole numbers below 2^64: those that decide between equal scores.

    The finaliser of SplitMix64 (Steele, Lea & Flood 2014) of seed + index times its increment, a bijection for a given
    seed, so that no two entries tie again. A function of seed and index alone: the same in every round, on every
    machine, and whichever entries are compared.
    """
    with np.errstate(over="ignore"):
        x = np.uint64(seed) + index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    ranks: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return ranks


def _by_rank(values: Values, count: int, ranks: NDArray[np.uint64], high: bool) -> NDArray[np.bool_]:
    """(n,) of the `count` highest (or lowest) values; of equal ones those of the highest (or lowest) ranks."""
    place = len(values) - count if high else count - 1
    kth = np.partition(values, place)[place]
    chosen: NDArray[np.bool_] = values > kth if high else values < kth
    tied = np.flatnonzero(values == kth)
    wanted = count - int(np.count_nonzero(chosen))
    ranked = tied[np.argsort(ranks[tied], kind="stable")]
    chosen[ranked[len(ranked) - wanted :] if high else ranked[:wanted]] = True
    return chosen


def _near(parts: Sequence[Ranked], few: int, total: int, high: bool) -> tuple[list[NDArray[np.intp]], Values]:
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


def _highest_first(values: Values, count: int) -> NDArray[np.bool_]:
    """(n,) of the `count` highest; of equal ones the first."""
    kth = np.partition(values, len(values) - count)[len(values) - count]
    chosen: NDArray[np.bool_] = values > kth
    chosen[np.flatnonzero(values == kth)[: count - int(np.count_nonzero(chosen))]] = True
    return chosen


def _lowest_last(values: Values, count: int) -> NDArray[np.bool_]:
    """(n,) of the `count` lowest; of equal ones the last."""
    return _highest_first(-values[::-1], count)[::-1]
