"""Pictures of masks: for every layer of a chain of nested masks one image, in which a weight's shade says how long it
stays.

Images are PNG files inside the page: a palette, one byte a pixel. No torch.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.claims.observations import Observations
from benchmark.protocols import Protocol
from benchmark.protocols.cells import density_text, method_names
from benchmark.records.store import Store
from benchmark.report.png import indexed

MOST_ROWS, MOST_COLUMNS = 96, 160  # pixels; larger layers are shown as means of blocks of weights
SHADES = 64
SMALLEST_IMAGE = 16  # pixels a side; inputs of less are taken for no image
ANCHORS = ((0x44, 0x01, 0x54), (0x3B, 0x52, 0x8B), (0x21, 0x91, 0x8C), (0x5E, 0xC9, 0x62), (0xFD, 0xE7, 0x25))
"""From what goes first to what stays last, dark to bright: Viridis, which is even for all readers."""


@dataclass(frozen=True)
class Picture:
    """An image of one layer: `png` in base64, its size in pixels, and in words what it shows."""

    layer: str
    png: str
    width: int
    height: int
    words: str


def of_protocol(store: Store, seen: Observations) -> dict[str, list[Picture]]:
    """Method -> a picture for each layer, of the lowest seed whose chain of masks is in the results folder."""
    protocol, found = seen.protocol, {}
    for method in method_names(protocol):
        seeds = [s for s in protocol.seeds if store.nested_masks_path(protocol, method, s).exists()]
        if not seeds:
            continue
        nested = store.read_nested_masks(protocol, method, seeds[0])
        if nested.last_level:
            weights = {name: kept for name, kept in nested.last_kept.items() if kept.ndim > 1}
            found[method] = [picture for name, kept in weights.items() for picture in _pictures(protocol, name, kept)]
    return found


def _pictures(protocol: Protocol, layer: str, last_kept: NDArray[np.uint8]) -> list[Picture]:
    """The layer as outputs by inputs; where the inputs are a square image, also how long each pixel's weights stay."""
    survival = last_kept.reshape(len(last_kept), -1).astype(np.float64)
    rows, columns = survival.shape
    blocks = _blocks(survival)
    each = "a pixel is a weight" if blocks.shape == survival.shape else "a pixel is the mean of a block of weights"
    half = density_text(protocol, min(int(np.median(survival)) + 1, len(protocol.level_table) - 1))
    words = f"{rows} outputs (down) by {columns} inputs (across), {each}. Half of its weights are gone at {half}"
    made = [_picture(layer, blocks, words)]
    side = math.isqrt(columns)
    if last_kept.ndim == 2 and side >= SMALLEST_IMAGE and side * side == columns:
        pixels = survival.mean(axis=0).reshape(side, side)
        words = f"each of {side} by {side} input pixels, mean over the weights to {rows} outputs"
        made.append(_picture(f"{layer}, by input pixel", pixels, words))
    return made


def _blocks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of blocks, so that rows and columns are at most as many as are shown."""
    for axis, most in ((0, MOST_ROWS), (1, MOST_COLUMNS)):
        size = -(-values.shape[axis] // most)
        starts = np.arange(0, values.shape[axis], size)
        counts = np.diff([*starts, values.shape[axis]])
        shape = (-1, 1) if axis == 0 else (1, -1)
        values = np.add.reduceat(values, starts, axis=axis) / counts.reshape(shape)
    return values


def _picture(layer: str, values: NDArray[np.float64], words: str) -> Picture:
    highest = float(values.max()) or 1.0
    shades = np.minimum((values / highest * SHADES).astype(np.uint8), SHADES - 1)
    height, width = shades.shape
    return Picture(layer, base64.b64encode(indexed(shades, palette())).decode(), width, height, words)


def palette() -> bytes:
    """Red, green and blue of every shade, between the anchors in straight lines."""
    places = np.linspace(0, len(ANCHORS) - 1, SHADES)
    channels = [np.interp(places, range(len(ANCHORS)), channel) for channel in zip(*ANCHORS, strict=True)]
    return np.stack(channels, axis=1).round().astype(np.uint8).tobytes()
