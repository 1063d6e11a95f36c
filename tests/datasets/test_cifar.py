"""CIFAR-10 and CIFAR-100 from small false files in every layout, damaged, and restored from a compact form."""

from __future__ import annotations

import json
import lzma
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import Batches, Pixels, batch, contents, lay, md5, real

from benchmark.datasets import cifar10, cifar100, cifar_lossless
from benchmark.datasets.cifar10_grey28 import grey_middle
from benchmark.datasets.dataset import load
from benchmark.datasets.source import cache_root, needs_download
from benchmark.utils.errors import EnvironmentProblem

SAMPLE = "cifar100-train-20-per-class"


def test_cifar10_from_torchvisions_layout(tmp_path: Path, batches: Batches) -> None:
    lay(tmp_path / "cifar-10-batches-py", contents(batches))
    data = load("cifar10", tmp_path)
    assert data.train_inputs.dtype == torch.uint8
    assert data.train_inputs.shape == (10, 3, 32, 32)
    assert np.array_equal(data.train_inputs[2:4].numpy(), batches["data_batch_2"][1])
    assert data.train_labels.tolist() == [x for i in range(1, 6) for x in batches[f"data_batch_{i}"][2]]
    assert np.array_equal(data.test_inputs.numpy(), batches["test_batch"][1])
    assert (data.classes, data.input_shape) == (10, (3, 32, 32))


def test_luma_by_hand() -> None:
    """Of a 5 x 6 image one row and two columns are left; weights 0.299, 0.587 and 0.114, halves up."""
    image = np.zeros((1, 3, 5, 6), np.uint8)
    image[0, :, 2, 2] = 255, 0, 0  # 76.245
    image[0, :, 2, 3] = 100, 200, 50  # 29.9 + 117.4 + 5.7 = 153
    image[0, :, 1, 2] = 255  # border
    assert grey_middle(image).tolist() == [[[[76, 153]]]]
    white = np.full((1, 3, 5, 5), 255, np.uint8)
    assert grey_middle(white).tolist() == [[[[255]]]]
    half = np.zeros((1, 3, 5, 5), np.uint8)
    half[0, :, 2, 2] = 1, 0, 100  # 0.299 + 11.4 = 11.699
    assert grey_middle(half).tolist() == [[[[12]]]]


def test_grey_cifar10_has_mnists_shape(tmp_path: Path, batches: Batches) -> None:
    lay(tmp_path / "cifar-10-batches-py", contents(batches))
    grey, colour = load("cifar10-grey28", tmp_path), load("cifar10", tmp_path)
    assert grey.train_inputs.shape == (10, 1, 28, 28)
    luma = (colour.test_inputs.double() * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)[:, 2:30, 2:30]
    assert float((grey.test_inputs[:, 0] - luma).abs().max()) <= 0.5 + 1e-9
    assert (grey.test_labels.tolist(), grey.input_shape) == (colour.test_labels.tolist(), (1, 28, 28))
    assert grey.digest != colour.digest


def test_cifar100_has_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    made = {name: batch(rng, 100, "fine_labels") for name in ("train", "test")}
    monkeypatch.setattr(cifar100, "MD5", {name: md5(content) for name, (content, _, _) in made.items()})
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
    monkeypatch.setattr(cifar100, "MD5", {name: md5(content) for name, content in packed.items()})
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
    tmp_path: Path, batches: Batches, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = lay(tmp_path / "cifar-10-batches-py", contents(batches))
    path, whole = folder / "data_batch_1", batches["data_batch_1"][0]
    spoiled = {"truncated": whole[:-9], "altered": whole[:500] + bytes([whole[500] ^ 1]) + whole[501:], "empty": b""}
    path.write_bytes(spoiled[damage])
    monkeypatch.setattr(cifar10, "_Unpickler", None)
    with pytest.raises(EnvironmentProblem, match="truncated or altered") as caught:
        load("cifar10", tmp_path)
    assert caught.value.thing == str(path)
    assert "Delete that file" in caught.value.fix


def test_a_batch_with_code_in_it_is_refused_even_with_the_right_digest(
    tmp_path: Path, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Code:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, ("true",)

    files = {**contents(batches), "test_batch": pickle.dumps({"data": Code()}, protocol=2)}
    monkeypatch.setitem(cifar10.MD5, "test_batch", md5(files["test_batch"]))
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
def compact(batches: Batches) -> bytes:
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
    tmp_path: Path, batches: Batches, compact: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = lay(tmp_path / "root", {"cifar10.lsxz": compact})
    assert not needs_download("cifar10", root)
    data = load("cifar10", root)
    assert np.array_equal(data.train_inputs[:2].numpy(), batches["data_batch_1"][1])
    folder = cache_root() / "cifar-10-batches-py"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == contents(batches)
    assert [path.name for path in root.iterdir()] == ["cifar10.lsxz"]  # it may be read-only
    monkeypatch.setattr(cifar_lossless, "decoded", None)
    load.cache_clear()
    assert load("cifar10", root).digest == data.digest  # restored once
    (folder / "test_batch").write_bytes(b"")
    load.cache_clear()
    with pytest.raises(EnvironmentProblem, match="test_batch"):
        load("cifar10", root)


@pytest.mark.parametrize("damage", ["truncated", "altered", "longer", "other", "empty"])
def test_a_damaged_compact_form_is_named(tmp_path: Path, batches: Batches, compact: bytes, damage: str) -> None:  # noqa: ARG001
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


def test_our_checksums_are_torchvisions() -> None:
    from torchvision.datasets import CIFAR10, CIFAR100

    assert list(cifar10.MD5.items()) == [tuple(pair) for pair in (*CIFAR10.train_list, *CIFAR10.test_list)]
    assert list(cifar100.MD5.items()) == [tuple(pair) for pair in (*CIFAR100.train_list, *CIFAR100.test_list)]


@pytest.mark.data
def test_the_real_sample_of_cifar100() -> None:
    data = load("cifar100-train-20-per-class", real("cifar100-train-20-per-class.npz"))
    assert data.train_inputs.shape == (2000, 3, 32, 32)
    assert torch.bincount(data.train_labels).tolist() == [20] * 100
    assert len(data.test_labels) == 0  # nothing can be tested, so nothing is trained on it


@pytest.mark.long
@pytest.mark.data
def test_a_real_batch_of_cifar10_from_its_compact_form() -> None:
    """The test batch comes out with its published md5 and channel means."""
    from torchvision.datasets import CIFAR10

    packed = (real("cifar10.lsxz") / "cifar10.lsxz").read_bytes()
    header, skeleton, streams = cifar_lossless._parts(packed)
    files = header["files"][5:]  # after five batches for training
    pixels = cifar_lossless.decoded(streams[5], header["weights"], header["offsets"], header["shift"])
    bones = skeleton[-sum(file["head"] + file["tail"] for file in files) :]
    made = cifar_lossless._files({**header, "files": files}, bones, pixels.tobytes())  # compares the md5s
    assert [files[0]["name"], files[0]["md5"]] == list(CIFAR10.test_list[0])
    assert made["test_batch"][files[0]["head"] :].startswith(pixels[0].tobytes())
    means = pixels.mean((0, 2, 3), dtype=np.float64) / 255
    assert means.tolist() == pytest.approx([0.4942, 0.4851, 0.4504], abs=5e-5)
