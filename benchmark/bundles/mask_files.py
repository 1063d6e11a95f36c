"""Masks of one cell as safetensors: eight weights in a byte, in C order, the first one in the highest bit. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from benchmark.protocol import Protocol

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
