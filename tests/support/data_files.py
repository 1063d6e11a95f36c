"""Small false files of image data sets, as their authors lay theirs out, and a server that has them."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import tarfile
import zipfile
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Batches = dict[str, tuple[bytes, Pixels, list[int]]]
"""Name of a batch file -> its bytes, images and labels."""


def md5(content: bytes) -> str:
    """The digest that torchvision publishes."""
    return hashlib.md5(content).hexdigest()


def batch(rng: np.random.Generator, classes: int, key: str) -> tuple[bytes, Pixels, list[int]]:
    """A pickled batch of two smooth pictures as CIFAR's authors wrote theirs."""
    steps = rng.integers(-3, 4, (2, 3, 32, 32)).cumsum(2).cumsum(3)
    images = (128 + steps).clip(0, 255).astype(np.uint8)
    labels = [int(rng.integers(classes)), classes - 1]
    return pickle.dumps({"data": images.reshape(2, -1), key: labels}, protocol=3), images, labels


def lay(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files; returns their folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def contents(batches: Batches) -> dict[str, bytes]:
    """File name -> bytes."""
    return {name: content for name, (content, _, _) in batches.items()}


def idx(array: Pixels) -> bytes:
    """An array in the IDX format: two zero bytes, type 8, dimensions, sizes as big-endian 32-bit, data."""
    sizes = b"".join(int(size).to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def packed_matrix(matrix: np.ndarray[Any, Any]) -> bytes:
    """A matrix as Small NORB's authors wrote theirs, packed: little-endian, three sizes at least, bytes or integers."""
    magic = 0x1E3D4C55 if matrix.dtype == np.uint8 else 0x1E3D4C54
    sizes = [*matrix.shape, *[1] * (3 - matrix.ndim)]
    numbers = [magic, matrix.ndim, *sizes]
    return gzip.compress(b"".join(int(n).to_bytes(4, "little") for n in numbers) + matrix.tobytes(), mtime=0)


def gz(arrays: dict[str, Pixels]) -> dict[str, bytes]:
    """The packed files by name."""
    return {f"{name}.gz": gzip.compress(idx(array), mtime=0) for name, array in arrays.items()}


def zipped(files: dict[str, bytes]) -> bytes:
    """The files as the published zip holds them."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"tiny-imagenet-200/{name}", content)
    return out.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    """CIFAR-10's archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


class Server(BaseHTTPRequestHandler):
    """Serves what `files` holds; of a Hub, the headers that its client asks for."""

    files: dict[str, bytes] = {}  # noqa: RUF012
    asked: list[str] = []  # noqa: RUF012
    revision = "0123456789abcdef" * 2 + "01234567"

    def do_HEAD(self) -> None:
        """Headers only."""
        self._answer(body=False)

    def do_GET(self) -> None:
        """Headers and content."""
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        self.asked.append(self.path)
        content = self.files.get(self.path)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.send_header("ETag", f'"{md5(content or b"")}"')
        self.send_header("X-Repo-Commit", self.revision)
        self.end_headers()
        if body and content is not None:
            self.wfile.write(content)

    def log_message(self, *_arguments: Any) -> None:
        """Nothing on the terminal."""


def real(name: str) -> Path:
    """The data root, if it holds a compact set."""
    root = os.environ.get("LOTTERYBENCH_DATA")
    if root is None or not (Path(root) / name).exists():
        pytest.skip(f"NOT CHECKED: real {name}; set LOTTERYBENCH_DATA to a folder that holds it")
    return Path(root)
