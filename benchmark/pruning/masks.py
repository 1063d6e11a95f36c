"""Masks from scores: exact counts, ties by index, pruned weights never return."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.pruning.interface import Masks, Scores
from benchmark.pruning.mask_index import count, places
from benchmark.pruning.sparse import Pattern
from benchmark.pruning.topk import Ranked, highest
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
        return values[places(mask if inside is None else inside)]
    return values if inside is None else values[inside.numpy().reshape(-1)[places(mask)]]


def whole(scores: Tensor, mask: Tensor) -> Tensor:
    """Scores of the mask's shape, of those or of the ones of what it keeps; what it does not keep scores 0."""
    if scores.shape == mask.shape:
        return scores
    return Pattern(mask).whole(scores.detach())


def masks_from_scores(
    scores: Scores, masks: Masks, groups: Mapping[str, Sequence[str]], counts: Mapping[str, int]
) -> Masks:
    """Cut every group of tensors to `counts[group]` weights.

    Tensors of a group compete as one vector, in the order of `groups[group]`, so weight and bias of one layer, or
    all layers under global pruning, are one ranking. Only what is left is ranked: of a hundred rounds to 1 % of the
    weights, the last fifty rank a tenth of them or less.
    """
    result: Masks = {}
    for group, names in groups.items():
        cut = highest([Ranked.of(scores[name], masks[name]) for name in names], counts[group])
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
    return scores.shape == mask.shape or scores.shape == (count(mask),)


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
    """sha256 over names, shapes and bits, in name order."""
    digest = hashlib.sha256()
    for name in sorted(masks):
        digest.update(f"{name}{tuple(masks[name].shape)}".encode())
        digest.update(masks[name].to(torch.uint8).contiguous().numpy().tobytes())
    return digest.hexdigest()
