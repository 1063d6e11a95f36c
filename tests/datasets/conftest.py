"""Fixtures of the tests of data sets: small false ones, with their digests in place of the real ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import Batches, Pixels, Server, batch, idx, md5, packed_matrix
from PIL import Image

from benchmark.datasets import cifar10, fashion_mnist, smallnorb, tiny_imagenet
from benchmark.datasets.dataset import load


@pytest.fixture(autouse=True)
def _no_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the user's cache nor an earlier test's data, and no proxy."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.setenv("no_proxy", "*")
    load.cache_clear()


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Batches:
    """CIFAR-10's six files in small, with their digests in place of the real ones."""
    rng = np.random.default_rng(0)
    made = {name: batch(rng, 10, "labels") for name in cifar10.MD5}
    monkeypatch.setattr(cifar10, "MD5", {name: md5(content) for name, (content, _, _) in made.items()})
    return made


@pytest.fixture
def norb(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Small NORB's four matrices in small, pairs of images and categories, with their digests for the real ones."""
    rng = np.random.default_rng(0)
    made: dict[str, Any] = {}
    for name, count in zip(smallnorb.SHA256, (6, 6, 5, 5), strict=True):
        categories = (np.arange(count) % 5).astype("<i4")
        pairs = rng.integers(0, 256, (count, 2, 96, 96)).astype(np.uint8)
        made[name] = pairs if "-dat" in name else categories
    digests = {name: hashlib.sha256(packed_matrix(matrix)).hexdigest() for name, matrix in made.items()}
    monkeypatch.setattr(smallnorb, "SHA256", digests)
    return made


@pytest.fixture
def fashion(monkeypatch: pytest.MonkeyPatch) -> dict[str, Pixels]:
    """Four small files' arrays, with their digests in place of the real ones."""
    rng = np.random.default_rng(0)
    shapes = dict(zip(fashion_mnist.MD5, ((30, 28, 28), (30,), (10, 28, 28), (10,)), strict=True))
    made = {n: rng.integers(0, 256 if len(s) == 3 else 10, s).astype(np.uint8) for n, s in shapes.items()}
    digests = {n: md5(gzip.compress(idx(a), mtime=0)) for n, a in made.items()}
    monkeypatch.setattr(fashion_mnist, "MD5", digests)
    monkeypatch.setattr(
        "torchvision.datasets.FashionMNIST.resources", [(f"{n}.gz", digest) for n, digest in digests.items()]
    )
    return made


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Two classes of Tiny-ImageNet with three and two pictures, one of them grey."""
    for name, value in (("CLASSES", 2), ("PER_CLASS", 3), ("VALIDATION", 2)):
        monkeypatch.setattr(tiny_imagenet, name, value)
    files = {"wnids.txt": b"n02\nn01\n", "val/val_annotations.txt": b"a.JPEG\tn02\t0\nb.JPEG\tn01\t0\n"}
    names = [f"train/{w}/images/{w}_{i}.JPEG" for w in ("n01", "n02") for i in range(3)]
    for i, name in enumerate([*names, "val/images/a.JPEG", "val/images/b.JPEG"]):
        colour = (i * 20, 100, 200)
        picture = Image.new("L", (64, 64), 90) if name.endswith("n01_0.JPEG") else Image.new("RGB", (64, 64), colour)
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=95)
        files[name] = out.getvalue()
    return files


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server that holds `Server.files`."""
    Server.files, Server.asked = {}, []
    running = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()
