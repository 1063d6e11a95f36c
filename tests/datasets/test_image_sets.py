"""Fashion-MNIST and Tiny-ImageNet from small false files, whole and damaged."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_files import Pixels, gz, lay, md5, packed_matrix, zipped

from benchmark.datasets import fashion_mnist, fashion_mnist_2000, smallnorb
from benchmark.datasets.dataset import load
from benchmark.datasets.tiny_imagenet import TinyImageNet
from benchmark.utils.errors import EnvironmentProblem


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


def test_the_tutorials_part_of_fashion_mnist(
    tmp_path: Path, fashion: dict[str, Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against numpy's global generator, as the tutorial calls it: first the training indices, then the test ones."""
    monkeypatch.setattr(fashion_mnist_2000, "TRAINING", 20)
    monkeypatch.setattr(fashion_mnist_2000, "TEST", 5)
    lay(tmp_path / "FashionMNIST" / "raw", gz(fashion))
    data = load("fashion-mnist-2000", tmp_path)
    np.random.seed(0)
    train, test = np.arange(30), np.arange(10)
    np.random.shuffle(train)
    np.random.shuffle(test)
    assert np.array_equal(data.train_inputs[:, 0].numpy(), fashion["train-images-idx3-ubyte"][train[:20]])
    assert data.train_labels.tolist() == fashion["train-labels-idx1-ubyte"][train[:20]].tolist()
    assert np.array_equal(data.test_inputs[:, 0].numpy(), fashion["t10k-images-idx3-ubyte"][test[:5]])
    assert data.test_labels.tolist() == fashion["t10k-labels-idx1-ubyte"][test[:5]].tolist()


def test_fashion_mnist_in_the_shape_of_cifar(tmp_path: Path, fashion: dict[str, Pixels]) -> None:
    lay(tmp_path / "FashionMNIST" / "raw", gz(fashion))
    plain, wide = load("fashion-mnist", tmp_path), load("fashion-mnist-rgb32", tmp_path)
    assert wide.test_inputs.shape == (10, 3, 32, 32)
    for channel in range(3):
        assert torch.equal(wide.train_inputs[:, channel, 2:30, 2:30], plain.train_inputs[:, 0])
    assert int(wide.train_inputs.sum()) == 3 * int(plain.train_inputs.sum())  # the border is black
    assert (wide.digest, wide.test_labels.tolist()) == (plain.digest, plain.test_labels.tolist())


def test_small_norb_is_of_the_left_camera(tmp_path: Path, norb: dict[str, Any]) -> None:
    lay(tmp_path / "smallNORB", {f"{name}.gz": packed_matrix(matrix) for name, matrix in norb.items()})
    data = load("smallnorb", tmp_path)
    pairs, categories, test_pairs, _ = norb.values()
    assert np.array_equal(data.train_inputs[:, 0].numpy(), pairs[:, 0])
    assert np.array_equal(data.test_inputs[:, 0].numpy(), test_pairs[:, 0])
    assert data.train_labels.tolist() == categories.tolist()


def test_a_matrix_of_another_type_is_refused(
    tmp_path: Path, norb: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{name}.gz": packed_matrix(matrix) for name, matrix in norb.items()}
    odd = gzip.compress(b"QL=\x1e" + bytes(20), mtime=0)  # single precision
    first = next(iter(files))
    digests = {name: hashlib.sha256({**files, first: odd}[f"{name}.gz"]).hexdigest() for name in norb}
    monkeypatch.setattr(smallnorb, "SHA256", digests)
    lay(tmp_path / "smallNORB", {**files, first: odd})
    with pytest.raises(EnvironmentProblem, match="of an unknown type, 0x1e3d4c51"):
        load("smallnorb", tmp_path)


def test_our_checksums_are_torchvisions() -> None:
    from torchvision.datasets import FashionMNIST

    assert [(f"{name}.gz", digest) for name, digest in fashion_mnist.MD5.items()] == list(FashionMNIST.resources)


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
    monkeypatch.setattr(TinyImageNet, "md5", md5(content))
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
