"""Image data sets from small false files in every layout, damaged, compact, and downloaded from servers of our own."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import os
import pickle
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100, FashionMNIST

from benchmark.datasets import cifar, download, fashion_mnist, tiny_imagenet
from benchmark.datasets import cifar_lossless as compact_images
from benchmark.datasets import paths as data_root
from benchmark.datasets.download import fetch_from_mirror
from benchmark.datasets.load import load
from benchmark.datasets.paths import CIFAR10_FILES, MNIST_FILES, cache_root, needs_download
from benchmark.protocols.recipe import SAMPLE
from benchmark.utils.errors import EnvironmentProblem

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def md5(content: bytes) -> str:
    """The digest that torchvision publishes."""
    return hashlib.md5(content).hexdigest()


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the user's cache nor an earlier test's data, and no proxy."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.setenv("no_proxy", "*")
    load.cache_clear()


def batch(rng: np.random.Generator, classes: int, key: str) -> tuple[bytes, Pixels, list[int]]:
    """A pickled batch of two smooth pictures as CIFAR's authors wrote theirs."""
    steps = rng.integers(-3, 4, (2, 3, 32, 32)).cumsum(2).cumsum(3)
    images = (128 + steps).clip(0, 255).astype(np.uint8)
    labels = [int(rng.integers(classes)), classes - 1]
    return pickle.dumps({"data": images.reshape(2, -1), key: labels}, protocol=3), images, labels


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[bytes, Pixels, list[int]]]:
    """CIFAR-10's six files in small, with their digests in place of the real ones."""
    rng = np.random.default_rng(0)
    made = {name: batch(rng, 10, "labels") for name in CIFAR10_FILES}
    monkeypatch.setattr(cifar, "CIFAR10_MD5", {name: md5(content) for name, (content, _, _) in made.items()})
    return made


def lay(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files; returns their folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def contents(batches: dict[str, tuple[bytes, Pixels, list[int]]]) -> dict[str, bytes]:
    """File name -> bytes."""
    return {name: content for name, (content, _, _) in batches.items()}


def test_cifar10_from_torchvisions_layout(tmp_path: Path, batches: Any) -> None:
    lay(tmp_path / "cifar-10-batches-py", contents(batches))
    data = load("cifar10", tmp_path)
    assert data.train_inputs.dtype == torch.uint8
    assert data.train_inputs.shape == (10, 3, 32, 32)
    assert np.array_equal(data.train_inputs[2:4].numpy(), batches["data_batch_2"][1])
    assert data.train_labels.tolist() == [x for i in range(1, 6) for x in batches[f"data_batch_{i}"][2]]
    assert np.array_equal(data.test_inputs.numpy(), batches["test_batch"][1])
    assert (data.classes, data.input_shape) == (10, (3, 32, 32))


def test_cifar100_has_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    made = {name: batch(rng, 100, "fine_labels") for name in ("train", "test")}
    monkeypatch.setattr(cifar, "CIFAR100_MD5", {name: md5(content) for name, (content, _, _) in made.items()})
    lay(tmp_path / "cifar-100-python", contents(made))
    data = load("cifar100", tmp_path)
    assert (data.classes, data.train_labels.tolist()) == (100, made["train"][2])
    assert np.array_equal(data.test_inputs.numpy(), made["test"][1])


def test_the_scoring_sample_is_cut_out_of_cifar100_where_its_own_file_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first 20 of each class in stored order: here, of 25 of each of three classes, shuffled."""
    rng = np.random.default_rng(2)
    labels = rng.permutation(np.repeat(np.arange(3), 25)).tolist()
    pixels = rng.integers(0, 256, (75, 3072), dtype=np.uint8)
    batches = {"train": (pixels, labels), "test": (pixels[:3], [0, 1, 2])}
    packed = {name: pickle.dumps({"data": x, "fine_labels": y}) for name, (x, y) in batches.items()}
    monkeypatch.setattr(cifar, "CIFAR100_MD5", {name: md5(content) for name, content in packed.items()})
    assert needs_download(SAMPLE, tmp_path)
    lay(tmp_path / "cifar-100-python", packed)
    assert not needs_download(SAMPLE, tmp_path)
    data = load(SAMPLE, tmp_path)
    seen: dict[int, int] = {}
    rows = []
    for row, label in enumerate(labels):
        seen[label] = seen.get(label, 0) + 1
        rows += [row] * (seen[label] <= 20)
    assert data.train_labels.tolist() == [labels[row] for row in rows]
    assert np.array_equal(data.train_inputs.numpy().reshape(60, -1), pixels[rows])
    assert len(data.test_labels) == 0


@pytest.mark.parametrize("damage", ["truncated", "altered", "empty"])
def test_a_damaged_batch_is_named_and_never_unpickled(
    tmp_path: Path, batches: Any, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = lay(tmp_path / "cifar-10-batches-py", contents(batches))
    path, whole = folder / "data_batch_1", batches["data_batch_1"][0]
    spoiled = {"truncated": whole[:-9], "altered": whole[:500] + bytes([whole[500] ^ 1]) + whole[501:], "empty": b""}
    path.write_bytes(spoiled[damage])
    monkeypatch.setattr(cifar, "_Unpickler", None)
    with pytest.raises(EnvironmentProblem, match="truncated or altered") as caught:
        load("cifar10", tmp_path)
    assert caught.value.thing == str(path)
    assert "Delete that file" in caught.value.fix


def test_a_batch_with_code_in_it_is_refused_even_with_the_right_digest(
    tmp_path: Path, batches: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Code:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, ("true",)

    files = {**contents(batches), "test_batch": pickle.dumps({"data": Code()}, protocol=2)}
    monkeypatch.setitem(cifar.CIFAR10_MD5, "test_batch", md5(files["test_batch"]))
    lay(tmp_path / "cifar-10-batches-py", files)
    with pytest.raises(pickle.UnpicklingError, match="system"):
        load("cifar10", tmp_path)


OFFSETS = [[0, -1], [-1, 0], [-1, -1], [-1, 1], [0, -2], [-2, 0]]


def packed(images: Pixels, weights: list[list[int]], shift: int) -> bytes:
    """Residuals of images (n, 3, 32, 32), pixel by pixel in plain integers, as an xz stream."""
    stored = np.zeros((3, len(images), 1024), np.uint8)
    for n, image in enumerate(images[:, [1, 0, 2]].astype(int)):
        for y in range(32):
            for x in range(32):
                near = []
                for dy, dx in OFFSETS:
                    row, column = y + dy, min(31, max(0, x + dx))
                    row = 0 if row < 0 and y else row
                    if row < 0 or (row == y and column >= x):
                        row, column = (y, x - 1) if x else (y - 1, x)
                    near.append([int(plane[row, column]) if row >= 0 else 128 for plane in image])
                middle = [sorted((w, n, w + n - c))[1] for w, n, c in zip(*near[:3], strict=True)]
                terms = [near[k][c] - middle[c] for c in range(3) for k in range(len(OFFSETS))]
                for c in range(3):
                    beside = [int(image[d, y, x]) - middle[d] for d in range(c)]
                    total = sum(w * t for w, t in zip(weights[c], terms + beside, strict=True))
                    guess = min(255, max(0, middle[c] + ((total + (1 << (shift - 1))) >> shift)))
                    residual = (int(image[c, y, x]) - guess + 128) % 256 - 128
                    stored[c, n, y * 32 + x] = 2 * residual if residual >= 0 else -2 * residual - 1
    return lzma.compress(stored.tobytes())


@pytest.fixture
def compact(batches: Any) -> bytes:
    """The six small batches in the compact form, two streams of pixels."""
    rng = np.random.default_rng(2)
    weights = [[int(w) for w in rng.integers(-200, 200, 3 * len(OFFSETS) + plane)] for plane in range(3)]
    files, skeleton = [], b""
    for name, (content, images, _) in batches.items():
        at = content.index(images.tobytes())
        tail = content[at + images.nbytes :]
        skeleton += content[:at] + tail
        files.append({"name": name, "n": 2, "md5": md5(content), "head": at, "tail": len(tail)})
    pixels = np.concatenate([images for _, images, _ in batches.values()])
    streams = [packed(part, weights, 10) for part in (pixels[:7], pixels[7:])]
    bones = lzma.compress(skeleton)
    header = {"dir": "cifar-10-batches-py", "shift": 10, "offsets": OFFSETS, "weights": weights, "files": files}
    text = json.dumps({**header, "skeleton": len(bones), "blobs": [len(s) for s in streams]}).encode()
    return b"IMGSET1\n" + len(text).to_bytes(4, "little") + text + bones + b"".join(streams)


def test_the_compact_form_is_restored_byte_for_byte_into_the_cache(
    tmp_path: Path, batches: Any, compact: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = lay(tmp_path / "root", {"cifar10.lsxz": compact})
    assert not needs_download("cifar10", root)
    data = load("cifar10", root)
    assert np.array_equal(data.train_inputs[:2].numpy(), batches["data_batch_1"][1])
    folder = cache_root() / "cifar-10-batches-py"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == contents(batches)
    assert [path.name for path in root.iterdir()] == ["cifar10.lsxz"]  # it may be read-only
    monkeypatch.setattr(compact_images, "decoded", None)
    load.cache_clear()
    assert load("cifar10", root).digest == data.digest  # restored once
    (folder / "test_batch").write_bytes(b"")
    load.cache_clear()
    with pytest.raises(EnvironmentProblem, match="test_batch"):
        load("cifar10", root)


@pytest.mark.parametrize("damage", ["truncated", "altered", "longer", "other", "empty"])
def test_a_damaged_compact_form_is_named(tmp_path: Path, batches: Any, compact: bytes, damage: str) -> None:  # noqa: ARG001
    middle = len(compact) * 3 // 4
    spoiled = {
        "truncated": compact[:-100],
        "altered": compact[:middle] + bytes([compact[middle] ^ 4]) + compact[middle + 1 :],
        "longer": compact + b"\0",
        "other": b"PK" + compact,
        "empty": b"",
    }
    root = lay(tmp_path / "root", {"cifar10.lsxz": spoiled[damage]})
    with pytest.raises(EnvironmentProblem, match="truncated or altered") as caught:
        load("cifar10", root)
    assert caught.value.thing == str(root / "cifar10.lsxz")
    assert not list(cache_root().glob("cifar-10-batches-py/*"))


def idx(array: Pixels) -> bytes:
    """An array in the IDX format."""
    sizes = b"".join(int(size).to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


@pytest.fixture
def fashion(monkeypatch: pytest.MonkeyPatch) -> dict[str, Pixels]:
    """Four small files' arrays, with their digests in place of the real ones."""
    rng = np.random.default_rng(0)
    shapes = dict(zip(MNIST_FILES, ((30, 28, 28), (30,), (10, 28, 28), (10,)), strict=True))
    made = {n: rng.integers(0, 256 if len(s) == 3 else 10, s).astype(np.uint8) for n, s in shapes.items()}
    digests = {n: md5(gzip.compress(idx(a), mtime=0)) for n, a in made.items()}
    monkeypatch.setattr(fashion_mnist, "MD5", digests)
    monkeypatch.setattr(FashionMNIST, "resources", [(f"{n}.gz", digest) for n, digest in digests.items()])
    return made


def gz(arrays: dict[str, Pixels]) -> dict[str, bytes]:
    """The packed files by name."""
    return {f"{name}.gz": gzip.compress(idx(array), mtime=0) for name, array in arrays.items()}


def test_fashion_mnist(tmp_path: Path, fashion: dict[str, Pixels]) -> None:
    folder = lay(tmp_path / "FashionMNIST" / "raw", gz(fashion))
    data = load("fashion-mnist", tmp_path)
    assert data.train_inputs.shape == (30, 1, 28, 28)
    assert np.array_equal(data.train_inputs[:, 0].numpy(), fashion["train-images-idx3-ubyte"])
    assert data.test_labels.tolist() == fashion["t10k-labels-idx1-ubyte"].tolist()
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"x")
    load.cache_clear()
    with pytest.raises(EnvironmentProblem, match="t10k-labels"):
        load("fashion-mnist", tmp_path)


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


def zipped(files: dict[str, bytes]) -> bytes:
    """The files as the published zip holds them."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"tiny-imagenet-200/{name}", content)
    return out.getvalue()


def test_tiny_imagenet_from_folder_and_zip(
    tmp_path: Path, tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path / "a" / "tiny-imagenet-200", tiny)
    data = load("tiny-imagenet", tmp_path / "a")
    assert data.train_inputs.shape == (6, 3, 64, 64)
    assert data.train_labels.tolist() == [0, 0, 0, 1, 1, 1]  # sorted ids, not the order of wnids.txt
    assert data.test_labels.tolist() == [1, 0]
    assert data.train_inputs[0, :, 5, 5].tolist() == [90, 90, 90]
    wanted = torch.tensor([[20, 100, 200], [120, 100, 200]])
    got = torch.stack([data.train_inputs[1, :, 5, 5], data.test_inputs[0, :, 5, 5]]).int()
    assert int((got - wanted).abs().max()) <= 3  # JPEG
    content = zipped(tiny)
    monkeypatch.setattr(download.TINY_IMAGENET, "md5", md5(content))
    root = lay(tmp_path / "b", {"tiny-imagenet-200.zip": content})
    assert load("tiny-imagenet", root).digest == data.digest
    (root / "tiny-imagenet-200.zip").write_bytes(content[:-1])
    load.cache_clear()
    with pytest.raises(EnvironmentProblem, match="truncated or altered"):
        load("tiny-imagenet", root)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train/n02/images/n02_1.JPEG", None),
        ("val/images/b.JPEG", b"\xff\xd8 no picture"),
        ("wnids.txt", b"n01\n"),
        ("val/val_annotations.txt", b"a.JPEG\tn02\t0\n"),
    ],
)
def test_a_damaged_tiny_imagenet_is_named(
    tmp_path: Path, tiny: dict[str, bytes], name: str, content: bytes | None
) -> None:
    folder = lay(tmp_path / "tiny-imagenet-200", tiny)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(EnvironmentProblem) as caught:
        load("tiny-imagenet", tmp_path)
    assert caught.value.thing.endswith(name)


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


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server that holds `Server.files`."""
    Server.files, Server.asked = {}, []
    running = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


def tarred(files: dict[str, bytes]) -> bytes:
    """CIFAR-10's archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_what_is_missing_comes_from_its_home(
    tmp_path: Path, batches: Any, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tarred(contents(batches))
    Server.files["/cifar.tar.gz"] = archive
    monkeypatch.setattr(CIFAR10, "url", f"{server}/cifar.tar.gz")
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(archive))
    assert needs_download("cifar10", tmp_path)
    data = load("cifar10", tmp_path)
    assert np.array_equal(data.test_inputs.numpy(), batches["test_batch"][1])
    assert not needs_download("cifar10", tmp_path)


def test_fashion_and_tiny_come_from_their_homes(
    tmp_path: Path, fashion: Any, tiny: dict[str, bytes], server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Server.files = {f"/{name}": content for name, content in gz(fashion).items()}
    monkeypatch.setattr(FashionMNIST, "mirrors", [f"{server}/"])
    assert load("fashion-mnist", tmp_path).classes == 10
    Server.files["/tiny-imagenet-200.zip"] = zipped(tiny)
    monkeypatch.setattr(download.TINY_IMAGENET, "url", f"{server}/tiny-imagenet-200.zip")
    monkeypatch.setattr(download.TINY_IMAGENET, "md5", md5(zipped(tiny)))
    assert load("tiny-imagenet", tmp_path).classes == 2


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion-mnist", "tiny-imagenet", SAMPLE])
def test_without_a_network_the_way_out_is_named(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = "http://127.0.0.1:9/"
    for home in (CIFAR10, CIFAR100):
        monkeypatch.setattr(home, "url", nowhere)
    monkeypatch.setattr(FashionMNIST, "mirrors", [nowhere])
    monkeypatch.setattr(download.TINY_IMAGENET, "url", nowhere)
    with pytest.raises(EnvironmentProblem, match="could not be downloaded") as caught:
        load(name, tmp_path)
    assert ("cifar100" if name == SAMPLE else name) in caught.value.thing  # of which the sample is a part
    assert "LOTTERYBENCH_DATA" in caught.value.fix
    assert len(str(caught.value).splitlines()) == 1


def test_a_hub_mirror_steps_in_at_its_pinned_revision(
    tmp_path: Path, batches: Any, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit is what is asked for; a file that is not the published one is refused; the Hub's cache is used."""
    archive, name = tarred(contents(batches)), "cifar-10-python.tar.gz"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/")
    file = download.HubFile("some/cifar", Server.revision, name, md5(archive), name)
    monkeypatch.setitem(download.MIRRORS, "cifar10", (file,))
    place = f"/datasets/some/cifar/resolve/{Server.revision}/{name}"
    Server.files[place] = archive
    assert fetch_from_mirror("cifar10", tmp_path / "root", endpoint=server)
    assert set(Server.asked) == {place}
    assert np.array_equal(load("cifar10", tmp_path / "root").test_inputs.numpy(), batches["test_batch"][1])
    Server.files.clear()
    load.cache_clear()
    assert load("cifar10", tmp_path / "offline").classes == 10  # from the Hub's cache, by way of `fetching`
    wrong = download.HubFile("some/cifar", Server.revision, name, "0" * 32, name)
    monkeypatch.setitem(download.MIRRORS, "cifar10", (wrong,))
    with pytest.raises(EnvironmentProblem, match="truncated or altered"):
        fetch_from_mirror("cifar10", tmp_path / "root", endpoint=server)


def test_a_mirror_needs_a_commit() -> None:
    for revision in ("main", "0" * 39, "G" * 40):
        with pytest.raises(ValueError, match="no commit"):
            download.HubFile("some/cifar", revision, "x", "0" * 32, "x")
    assert not fetch_from_mirror("mnist1d", Path())


def test_our_checksums_are_torchvisions() -> None:
    assert list(cifar.CIFAR10_MD5.items()) == [tuple(pair) for pair in (*CIFAR10.train_list, *CIFAR10.test_list)]
    assert list(cifar.CIFAR100_MD5.items()) == [tuple(pair) for pair in (*CIFAR100.train_list, *CIFAR100.test_list)]
    assert [(f"{name}.gz", digest) for name, digest in fashion_mnist.MD5.items()] == list(FashionMNIST.resources)


def real(name: str) -> Path:
    """The data root, if it holds a compact set."""
    root = os.environ.get("LOTTERYBENCH_DATA")
    if root is None or not (Path(root) / name).exists():
        pytest.skip(f"NOT CHECKED: real {name}; set LOTTERYBENCH_DATA to a folder that holds it")
    return Path(root)


@pytest.mark.data
def test_the_real_sample_of_cifar100() -> None:
    data = load("cifar100-train-20-per-class", real("cifar100-train-20-per-class.npz"))
    assert data.train_inputs.shape == (2000, 3, 32, 32)
    assert torch.bincount(data.train_labels).tolist() == [20] * 100
    assert len(data.test_labels) == 0  # nothing can be tested, so nothing is trained on it


@pytest.mark.data
@pytest.mark.slow
def test_a_real_batch_of_cifar10_from_its_compact_form() -> None:
    """The test batch comes out with its published md5 and channel means."""
    packed = (real("cifar10.lsxz") / "cifar10.lsxz").read_bytes()
    header, skeleton, streams = compact_images._parts(packed)
    files = header["files"][5:]  # after five batches for training
    pixels = compact_images.decoded(streams[5], header["weights"], header["offsets"], header["shift"])
    bones = skeleton[-sum(file["head"] + file["tail"] for file in files) :]
    made = compact_images._files({**header, "files": files}, bones, pixels.tobytes())  # compares the md5s
    assert [files[0]["name"], files[0]["md5"]] == list(CIFAR10.test_list[0])
    assert made["test_batch"][files[0]["head"] :].startswith(pixels[0].tobytes())
    means = pixels.mean((0, 2, 3), dtype=np.float64) / 255
    assert means.tolist() == pytest.approx([0.4942, 0.4851, 0.4504], abs=5e-5)


def test_every_way_to_hold_a_set_is_a_data_set() -> None:
    assert set(data_root.WAYS) == {
        "cifar10",
        "cifar100",
        "fashion-mnist",
        "tiny-imagenet",
        "cifar100-train-20-per-class",
    }
