"""Restores CIFAR-10's batch files from a compact, lossless form, byte for byte.

A `.lsxz` file is: the 8 bytes `IMGSET1\n`; the length of a JSON header, 4 bytes little-endian; the header; an xz
stream with all bytes of the batch files that are not pixels ("skeleton": for each file what stands before and after its
images); and one xz stream of pixel residuals for each of the header's `blobs`, 10,000 images each.

Pixels are coded in raster order, planes in the order green, red, blue. A pixel is predicted by the median of west,
north and west + north - corner, corrected by an integer linear combination of how far earlier neighbours, in all
three planes, and the planes just decoded at this pixel, lie from their own medians. The residual modulo 256 is stored
zigzag: 0, -1, 1, -2, ... as 0, 1, 2, 3.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from benchmark.datasets.source import REPAIR
from benchmark.utils.errors import EnvironmentProblem

MAGIC = b"IMGSET1\n"
SIDE = 32
BORDER, BORDER_VALUE = SIDE * SIDE, 128  # stands in for a neighbour where nothing has been decoded yet
PLANES = (1, 0, 2)  # where red, green and blue are stored


def source(y: int, x: int, dy: int, dx: int) -> int:
    """Which decoded pixel serves as neighbour (dy, dx) of pixel (y, x), as a raster position.

    Columns are clamped to the picture, rows above it are its first row. What is not decoded yet is replaced by the
    pixel to the left, at the left edge by the one above, and at the first pixel by the border.
    """
    row, column = max(y + dy, 0) if y else y + dy, min(max(x + dx, 0), SIDE - 1)
    if 0 <= row < y or (row == y and column < x):
        return row * SIDE + column
    if x:
        return y * SIDE + x - 1
    return (y - 1) * SIDE if y else BORDER


def decoded(stream: bytes, weights: list[list[int]], offsets: list[list[int]], shift: int) -> NDArray[np.uint8]:
    """Images (n, 3, 32, 32) of one residual stream. Raises lzma.LZMAError or ValueError if it is damaged."""
    stored = np.frombuffer(lzma.decompress(stream), np.uint8)
    unzigzagged = (stored >> 1) ^ (np.uint8(0) - (stored & 1))
    residuals = np.ascontiguousarray(unzigzagged.reshape(3, -1, SIDE * SIDE).transpose(0, 2, 1))
    count, features = residuals.shape[2], 3 * len(offsets)
    spatial = np.array([row[:features] for row in weights], np.float32)
    # Float32 sums of integers below 2^24 are exact in any order, so one matrix product replaces a loop.
    if max(sum(map(abs, row)) for row in weights) * 255 + 2**shift >= 2**24:
        raise ValueError("weights too large for exact sums")
    planes = np.full((3, SIDE * SIDE + 1, count), BORDER_VALUE, np.float32)
    for place in range(SIDE * SIDE):
        near = planes[:, [source(*divmod(place, SIDE), dy, dx) for dy, dx in offsets]]
        west, north, corner = near[:, 0], near[:, 1], near[:, 2]
        smooth = np.minimum(np.maximum(west + north - corner, np.minimum(west, north)), np.maximum(west, north))
        correction = spatial @ (near - smooth[:, None]).reshape(features, count)
        beside: list[NDArray[np.float32]] = []
        for plane in range(3):
            guess = correction[plane] + 2 ** (shift - 1)
            for weight, difference in zip(weights[plane][features:], beside, strict=True):
                guess += np.float32(weight) * difference
            predicted = np.clip(smooth[plane] + np.floor(guess / 2**shift), 0, 255).astype(np.uint8)
            value = (predicted + residuals[plane, place]).astype(np.float32)  # uint8 sums wrap around
            planes[plane, place] = value
            beside.append(value - smooth[plane])
    pixels = planes[list(PLANES), :BORDER].astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)).reshape(count, 3, SIDE, SIDE)


def restore(packed: Path, target: Path) -> None:
    """Write the batch files that `packed` holds into its folder under `target`, each checked by md5 first.

    Does nothing if they are there. Raises EnvironmentProblem if `packed` is damaged or `target` cannot be written.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        with FileLock(target / f".{packed.stem}.lock"):
            header, skeleton, streams = _parts(packed.read_bytes())
            folder = target / header["dir"]
            if not all((folder / file["name"]).exists() for file in header["files"]):
                images = [decoded(s, header["weights"], header["offsets"], header["shift"]) for s in streams]
                folder.mkdir(exist_ok=True)
                for name, content in _files(header, skeleton, b"".join(part.tobytes() for part in images)).items():
                    whole = folder / f"{name}.part"
                    whole.write_bytes(content)
                    os.replace(whole, folder / name)
    except (ValueError, KeyError, TypeError, IndexError, lzma.LZMAError, EOFError) as error:
        raise EnvironmentProblem(str(packed), f"truncated or altered ({error})", REPAIR) from error
    except OSError as error:
        fix = "Make room or give the right to write there"
        raise EnvironmentProblem(
            str(target), f"{packed.name} cannot be restored there ({error.strerror})", fix
        ) from error


def _parts(content: bytes) -> tuple[dict[str, Any], bytes, list[bytes]]:
    if not content.startswith(MAGIC):
        raise ValueError("not a compact image set")
    at = len(MAGIC) + 4
    length = int.from_bytes(content[len(MAGIC) : at], "little")
    header: dict[str, Any] = json.loads(content[at : at + length])
    at += length
    pieces = []
    for size in (header["skeleton"], *header["blobs"]):
        pieces.append(content[at : at + size])
        at += size
    if len(content) != at:
        raise ValueError(f"{len(content)} bytes where {at} belong")
    return header, lzma.decompress(pieces[0]), pieces[1:]


def _files(header: dict[str, Any], skeleton: bytes, pixels: bytes) -> dict[str, bytes]:
    """Each file is its front, its images, its back. Raises ValueError if one is not the published file."""
    files, bones, flesh = {}, 0, 0
    for file in header["files"]:
        middle = bones + file["head"]
        end = middle + file["tail"]
        size = file["n"] * 3 * SIDE * SIDE
        content = skeleton[bones:middle] + pixels[flesh : flesh + size] + skeleton[middle:end]
        if (found := hashlib.md5(content, usedforsecurity=False).hexdigest()) != file["md5"]:
            raise ValueError(f"{file['name']} has md5 {found}, expected {file['md5']}")
        files[str(file["name"])] = content
        bones, flesh = end, flesh + size
    return files
