"""Images as PNG files, written here (W3C PNG specification): shades of a palette, or pixels as they are. No torch."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

LONGEST = 0xFFFF  # bytes of a block that deflate stores
GREY, RGB, INDEXED = 0, 2, 3


def indexed(shades: NDArray[np.uint8], palette: bytes) -> bytes:
    """Of (height, width) places in a palette of red, green and blue bytes; compressed."""
    return _file(shades.shape[1], shades, INDEXED, lambda data: zlib.compress(data, 9), palette)


def stored(image: NDArray[np.uint8]) -> bytes:
    """Of an image (1 or 3 channels, height, width), without compression.

    Compressors of several versions give several files for the same image; the board's have to be the same everywhere.
    """
    channels, height, width = image.shape
    pixels = image.transpose(1, 2, 0).reshape(height, -1)
    return _file(width, pixels, {1: GREY, 3: RGB}[channels], stored_blocks)


def _file(
    width: int, lines: NDArray[np.uint8], colours: int, packed: Callable[[bytes], bytes], palette: bytes = b""
) -> bytes:
    """`lines`: (height, bytes of a line)."""
    header = struct.pack(">IIBBBBB", width, len(lines), 8, colours, 0, 0, 0)  # 8 bits, nothing interlaced
    filtered = np.hstack([np.zeros((len(lines), 1), np.uint8), lines])  # each line begins with its filter: none
    chunks = [(b"IHDR", header), (b"PLTE", palette), (b"IDAT", packed(filtered.tobytes()))]
    written = [_chunk(kind, data) for kind, data in chunks if data]
    return b"".join([b"\x89PNG\r\n\x1a\n", *written, _chunk(b"IEND", b"")])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def stored_blocks(data: bytes) -> bytes:
    """A zlib stream of stored blocks (RFC 1950, 1951)."""
    parts = [data[at : at + LONGEST] for at in range(0, len(data), LONGEST)]
    blocks = [
        struct.pack("<BHH", number == len(parts), len(part), len(part) ^ 0xFFFF) + part
        for number, part in enumerate(parts, start=1)
    ]
    return b"\x78\x01" + b"".join(blocks) + struct.pack(">I", zlib.adler32(data))
