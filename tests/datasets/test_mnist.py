"""Data sets: small false MNIST files packed and unpacked, damaged, and downloaded from a server of our own."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_files import idx

from benchmark.datasets import mnist
from benchmark.datasets.dataset import load
from benchmark.datasets.source import data_root, needs_download, source_of
from benchmark.utils.errors import EnvironmentProblem

SHAPES = {
    "train-images-idx3-ubyte": (30, 28, 28),
    "train-labels-idx1-ubyte": (30,),
    "t10k-images-idx3-ubyte": (10, 28, 28),
    "t10k-labels-idx1-ubyte": (10,),
}
Contents = dict[str, np.ndarray[Any, np.dtype[np.uint8]]]


@pytest.fixture
def contents(monkeypatch: pytest.MonkeyPatch) -> Contents:
    """Four small files' arrays, with their digests in place of the real ones everywhere."""
    rng = np.random.default_rng(0)
    made = {n: rng.integers(0, 256 if len(s) == 3 else 10, s).astype(np.uint8) for n, s in SHAPES.items()}
    made["train-labels-idx1-ubyte"][:10] = np.arange(10)
    digests = {
        name: (
            hashlib.md5(gzip.compress(idx(array), mtime=0)).hexdigest(),
            hashlib.sha256(idx(array)).hexdigest(),
        )
        for name, array in made.items()
    }
    monkeypatch.setattr(mnist, "FILES", digests)
    monkeypatch.setattr(
        "torchvision.datasets.MNIST.resources", [(f"{name}.gz", digest[0]) for name, digest in digests.items()]
    )
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", ["http://127.0.0.1:9/"])  # nothing listens there
    monkeypatch.setenv("no_proxy", "*")
    load.cache_clear()
    return made


def lay(folder: Path, contents: Contents, packed: bool) -> Path:
    """Write the files as `folder` in torchvision's layout would hold them; returns where they lie."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for name, array in contents.items():
        if packed:
            (raw / f"{name}.gz").write_bytes(gzip.compress(idx(array), mtime=0))
        else:
            (raw / name).write_bytes(idx(array))
    return raw


@pytest.mark.parametrize("packed", [True, False])
def test_mnist_from_either_layout(tmp_path: Path, contents: Contents, packed: bool) -> None:
    lay(tmp_path, contents, packed)
    data = load("mnist", tmp_path)
    pixels = contents["train-images-idx3-ubyte"].reshape(30, 784)
    assert data.train_inputs.dtype == torch.float32
    assert torch.equal(data.train_inputs, torch.from_numpy(pixels).float() / 255)
    assert data.train_labels.tolist() == contents["train-labels-idx1-ubyte"].tolist()
    assert data.test_inputs.shape == (10, 784)
    assert data.test_labels.tolist() == contents["t10k-labels-idx1-ubyte"].tolist()
    assert (data.classes, data.input_shape) == (10, (784,))


def test_both_layouts_have_one_digest_and_other_pixels_another(tmp_path: Path, contents: Contents) -> None:
    digests = set()
    for name, packed in (("a", True), ("b", False)):
        lay(tmp_path / name, contents, packed)
        digests.add(load("mnist", tmp_path / name).digest)
    assert len(digests) == 1
    arrays = [contents[name] for name in SHAPES]
    altered = [array.copy() for array in arrays]
    altered[2][0, 0, 0] ^= 1
    assert mnist.digest_of(*arrays) in digests
    assert mnist.digest_of(*altered) not in digests
    assert mnist.digest_of(arrays[0].reshape(30, 784)) != mnist.digest_of(arrays[0])


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("damage", ["truncated", "altered", "empty", "longer"])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, contents: Contents, packed: bool, damage: str) -> None:
    raw = lay(tmp_path, contents, packed)
    for name in SHAPES:
        path = raw / (f"{name}.gz" if packed else name)
        whole = path.read_bytes()
        middle = len(whole) // 2
        spoiled = {
            "truncated": whole[:-5],
            "altered": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "empty": b"",
            "longer": whole + b"\0",
        }
        path.write_bytes(spoiled[damage])
        with pytest.raises(EnvironmentProblem) as caught:
            load("mnist", tmp_path)
        assert caught.value.thing == str(path)
        assert "truncated or altered" in caught.value.cause
        assert "Delete that file and run again" in caught.value.fix
        assert caught.value.exit_code == 3
        path.write_bytes(whole)
    assert load("mnist", tmp_path).classes == 10


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, contents: Contents) -> None:
    raw = lay(tmp_path, contents, packed=True)
    blocked = raw / "t10k-images-idx3-ubyte.gz"
    blocked.unlink()
    blocked.mkdir()
    with pytest.raises(EnvironmentProblem) as caught:
        load("mnist", tmp_path)
    assert caught.value.thing == str(blocked)


def test_a_missing_file_without_a_network_says_what_to_do(tmp_path: Path, contents: Contents) -> None:
    raw = lay(tmp_path, contents, packed=True)
    (raw / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(EnvironmentProblem) as caught:
        load("mnist", tmp_path)
    assert str(tmp_path) in caught.value.thing
    assert "could not be downloaded" in caught.value.cause
    assert "LOTTERYBENCH_DATA" in caught.value.fix
    assert len(str(caught.value).splitlines()) == 1


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, *_arguments: Any) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def mirror(tmp_path: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A local mirror of the packed files; yields the folder that it serves."""
    served = lay(tmp_path / "served", contents, packed=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    yield served
    server.shutdown()
    server.server_close()


def test_what_is_missing_is_downloaded(tmp_path: Path, contents: Contents, mirror: Path) -> None:
    root = tmp_path / "root"
    assert needs_download("mnist", root)
    data = load("mnist", root)
    assert data.train_labels.tolist() == contents["train-labels-idx1-ubyte"].tolist()
    assert not needs_download("mnist", root)
    for file in mirror.iterdir():
        file.unlink()
    load.cache_clear()
    assert load("mnist", root).digest == data.digest  # from now on without a network


def test_a_corrupt_download_is_refused_and_a_later_one_succeeds(
    tmp_path: Path, contents: Contents, mirror: Path
) -> None:
    served = mirror / "t10k-images-idx3-ubyte.gz"
    whole = served.read_bytes()
    served.write_bytes(whole[:100])
    with pytest.raises(EnvironmentProblem, match="could not be downloaded"):
        load("mnist", tmp_path / "root")
    served.write_bytes(whole)
    assert load("mnist", tmp_path / "root").test_labels.tolist() == contents["t10k-labels-idx1-ubyte"].tolist()


def test_our_checksums_are_torchvisions() -> None:
    from torchvision.datasets import MNIST

    assert [(f"{name}.gz", digests[0]) for name, digests in mnist.FILES.items()] == list(MNIST.resources)


def test_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOTTERYBENCH_DATA", str(tmp_path))
    assert data_root() == tmp_path
    for empty in ("", None):
        monkeypatch.delenv("LOTTERYBENCH_DATA") if empty is None else monkeypatch.setenv("LOTTERYBENCH_DATA", empty)
        assert data_root() == Path.home() / ".cache" / "lotterybench" / "data"
    assert not needs_download("mnist1d", tmp_path)


@pytest.mark.data
def test_real_mnist() -> None:
    """Known facts of the real files: sizes, class counts, mean pixel, first labels."""
    root = os.environ.get("LOTTERYBENCH_DATA")
    if root is None or not source_of("mnist").is_present(Path(root)):
        pytest.skip("NOT CHECKED: real MNIST; set LOTTERYBENCH_DATA to a folder that holds MNIST/raw")
    load.cache_clear()
    data = load("mnist", Path(root))
    assert data.train_inputs.shape == (60_000, 784)
    assert data.test_inputs.shape == (10_000, 784)
    assert data.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert torch.bincount(data.train_labels).tolist()[:3] == [5923, 6742, 5958]
    assert torch.bincount(data.test_labels).tolist()[:3] == [980, 1135, 1032]
    assert float(data.train_inputs.double().mean()) == pytest.approx(0.1307, abs=5e-5)
