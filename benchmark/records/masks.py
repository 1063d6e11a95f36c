"""Masks without torch: their digest, all masks of an iterative chain in one array, one cell's masks as safetensors.

Masks of a chain are nested, so one small integer per weight, the last level that keeps it, holds all of them. In a
bundle a cell's masks are safetensors: eight weights in a byte, in C order, the first one in the highest bit.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from benchmark.protocols import Protocol
from benchmark.protocols.levels import MOST_LEVELS
from benchmark.utils.errors import BadInput
from benchmark.utils.npz import unpack


def mask_digest(masks: Mapping[str, NDArray[np.bool_]]) -> str:
    """sha256 over names, shapes and bits, in name order. Every digest of a mask is this one."""
    digest = hashlib.sha256()
    for name in sorted(masks):
        shape = tuple(int(extent) for extent in masks[name].shape)
        digest.update(f"{name}{shape}".encode())
        digest.update(np.ascontiguousarray(masks[name]).astype(np.uint8).tobytes())
    return digest.hexdigest()


Bits = Mapping[str, NDArray[np.bool_]]
HEADER_BYTES = 64 * 1024


def masks_to_bytes(masks: Bits) -> bytes:
    """One uint8 tensor of ceil(weights / 8) for each boolean mask, by parameter name."""
    return save({name: np.packbits(masks[name].reshape(-1)) for name in sorted(masks)})


def masks_from_bytes(content: bytes, protocol: Protocol) -> dict[str, NDArray[np.bool_]]:
    """The masks in the shapes of the protocol's prunable tensors.

    Raises ValueError if the bytes are not exactly what `masks_to_bytes` makes of masks of this protocol.
    """
    shapes = protocol.pruning.prunable
    if len(content) > HEADER_BYTES + sum(-(-math.prod(shape) // 8) for shape in shapes.values()):
        raise ValueError(f"{len(content):,} bytes are more than the masks of {protocol.key} take")
    try:
        packed = load(content)
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"no safetensors ({error})") from error
    masks: dict[str, NDArray[np.bool_]] = {}
    for name, shape in shapes.items():
        bits, count = packed.get(name), math.prod(shape)
        if bits is None or bits.dtype != np.uint8 or bits.shape != (-(-count // 8),):
            raise ValueError(f"no packed mask of {name}, {shape}")
        masks[name] = np.unpackbits(bits)[:count].reshape(shape).astype(bool)
    if masks_to_bytes(masks) != content:
        raise ValueError("more than the masks stands in it")
    return masks


COSTS_BYTES = (MOST_LEVELS + 1) * 5 * 8


@dataclass(frozen=True)
class NestedMasks:
    """All masks of a chain in one array per tensor: for each prunable weight, the last level that keeps it.

    A weight is kept at level L when `last_kept[weight] >= L`. `costs[L]` is what pruning to level L took:
    seconds, forward passes, backward passes, examples seen, and, only if any level took some, inner steps.
    """

    last_kept: Mapping[str, NDArray[np.uint8]]
    costs: NDArray[np.float64]

    @property
    def last_level(self) -> int:
        """The highest level whose mask is known."""
        return len(self.costs) - 1

    def mask(self, level: int) -> dict[str, NDArray[np.bool_]]:
        """Boolean masks of `level`, 0..last_level."""
        return {name: levels >= level for name, levels in self.last_kept.items()}

    def extended(self, masks: Mapping[str, NDArray[np.bool_]], cost: tuple[float, ...]) -> NestedMasks:
        """With one more level, whose masks must be nested in the last one's. `cost`: a row of `costs`."""
        level = self.last_level + 1
        last_kept = {
            name: np.where(masks[name], level, levels).astype(np.uint8) for name, levels in self.last_kept.items()
        }
        costs = np.zeros((level + 1, 5))
        costs[:-1, : self.costs.shape[1]] = self.costs
        costs[-1, : len(cost)] = cost
        return NestedMasks(last_kept, costs if costs[:, 4].any() else costs[:, :4])

    def compared_with(self, other: NestedMasks) -> Literal["same", "longer", "shorter", "differ"]:
        """How this chain stands to `other`: the same masks, or the same as far as the shorter one goes.

        Costs are not compared: two machines that made the same masks took different seconds.
        """
        level = min(self.last_level, other.last_level)
        if self.last_kept.keys() != other.last_kept.keys() or any(
            not np.array_equal(np.minimum(levels, level), np.minimum(other.last_kept[name], level))
            for name, levels in self.last_kept.items()
        ):
            return "differ"
        if self.last_level == other.last_level:
            return "same"
        return "longer" if self.last_level > level else "shorter"

    @staticmethod
    def dense(shapes: Mapping[str, tuple[int, ...]]) -> NestedMasks:
        """Level 0 only: nothing is pruned."""
        return NestedMasks({name: np.zeros(shape, np.uint8) for name, shape in shapes.items()}, np.zeros((1, 4)))


def nested_masks_in(path: Path, protocol: Protocol) -> NestedMasks:
    """The masks in one file, whatever its comment. Raises BadInput if they are not masks of this protocol."""
    arrays = unpack(path, sum(protocol.pruning.tensor_sizes.values()) + COSTS_BYTES)
    costs = arrays.pop("costs", np.zeros(0))
    last_kept = {name: arrays[name].astype(np.uint8) for name in protocol.pruning.prunable if name in arrays}
    if {name: array.shape for name, array in arrays.items()} != protocol.pruning.prunable or not _fit(last_kept, costs):
        raise BadInput(str(path), f"does not fit protocol {protocol.key}", "Restore it from git, or move it away")
    return NestedMasks(last_kept, costs.astype(np.float64))


def _fit(last_kept: Mapping[str, NDArray[np.uint8]], costs: NDArray[np.generic]) -> bool:
    """Whether there are finite costs for level 0 and for every level that keeps a weight."""
    if (
        costs.ndim != 2
        or costs.shape[1] not in (4, 5)
        or not 1 <= len(costs) <= MOST_LEVELS + 1
        or costs.dtype.kind != "f"
    ):
        return False
    highest = max((int(levels.max(initial=0)) for levels in last_kept.values()), default=0)
    return highest < len(costs) and bool(np.isfinite(costs).all())
