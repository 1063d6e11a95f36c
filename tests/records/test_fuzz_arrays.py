"""Arrays and weights from damaged and hostile files: read, or refused with an error that names the file."""

from __future__ import annotations

import io
import json
import os
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import PROFILE, damaged, memory_below, refused_or_read
from hypothesis import given
from hypothesis import strategies as st

from benchmark.protocols import Protocol
from benchmark.records.masks import NestedMasks
from benchmark.records.store import Store
from benchmark.utils.files import MIB
from benchmark.utils.npz import comment_of, pack, unpack

ARRAYS = {"fc1.weight": np.arange(48, dtype=np.uint8).reshape(6, 8), "costs": np.linspace(0, 1, 12).reshape(3, 4)}

PACKED = pack(ARRAYS, "c" * 64)


@PROFILE
@given(content=damaged(PACKED))
def test_damaged_arrays(content: bytes, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(content)
    with memory_below(24 * MIB):
        refused_or_read(lambda: unpack(path, MIB))
        comment_of(path)


@PROFILE
@given(data=st.data())
def test_damaged_chains(tiny_protocol: Protocol, data: st.DataObject, tmp_path_factory: Any) -> None:
    """What is read is a chain of this protocol: every mask of it can be had."""
    store, shapes = Store(tmp_path_factory.mktemp("chain")), tiny_protocol.pruning.prunable
    kept = {name: np.arange(np.prod(shape)).reshape(shape) % 3 > 0 for name, shape in shapes.items()}
    store.write_nested_masks(tiny_protocol, "imp", 0, NestedMasks.dense(shapes).extended(kept, (0.5, 1, 2, 3)))
    path = store.nested_masks_path(tiny_protocol, "imp", 0)
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    found: list[NestedMasks] = []
    refused_or_read(lambda: found.append(store.read_nested_masks(tiny_protocol, "imp", 0)))
    for nested in found:
        for level in range(nested.last_level + 1):
            assert {name: mask.shape for name, mask in nested.mask(level).items()} == shapes


def npy(shape: str, descr: str = "|u1", data: bytes = b"\0" * 8) -> bytes:
    """A .npy with any header."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    text = header.encode() + b" " * ((64 - (len(header) + 11) % 64) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def zipped(members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of any members, equal names included."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a name twice is the point
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


def with_declared_size(archive: bytes, size: int) -> bytes:
    """The first member's directory entry claims another length."""
    at = archive.index(b"PK\x01\x02")
    return archive[: at + 24] + struct.pack("<L", size) + archive[at + 28 :]


def with_dictionary(archive: bytes, size: int) -> bytes:
    """The first member's LZMA stream asks for another dictionary."""
    at = archive.index(b"\x05\x00", 30) + 3
    return archive[:at] + struct.pack("<L", size) + archive[at + 4 :]


def bomb() -> bytes:
    """Zeros, more of them than may be read."""
    zeros = 400_000_000 if os.environ.get("HUGE") else 40_000_000
    return npy(f"({zeros},)", data=b"\0" * zeros)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "a shape without bytes": lambda: zipped([("a.npy", npy("(1000000000000,)"))]),
    "a shape beyond integers": lambda: zipped([("a.npy", npy("(99999999999999999999,)"))]),
    "a shape that wraps around to zero": lambda: zipped([("a.npy", npy("(4294967296, 4294967296)", data=b""))]),
    "a negative shape": lambda: zipped([("a.npy", npy("(-8,)"))]),
    "too many dimensions": lambda: zipped([("a.npy", npy("(" + "1, " * 40 + ")", data=b"\0"))]),
    "a shape that is code": lambda: zipped([("a.npy", npy("(__import__('os').getpid(),)"))]),
    "objects": lambda: zipped([("a.npy", npy("(1,)", "|O"))]),
    "text": lambda: zipped([("a.npy", npy("(1,)", "<U2"))]),
    "void": lambda: zipped([("a.npy", npy("(1,)", "|V8"))]),
    "deep header": lambda: zipped([("a.npy", npy("(" * 5000 + ")" * 5000))]),
    "a bomb of zeros": lambda: zipped([("a.npy", bomb())], zipfile.ZIP_DEFLATED),
    "a bomb in LZMA": lambda: zipped([("a.npy", bomb())], zipfile.ZIP_LZMA),
    "a bomb in bzip2": lambda: zipped([("a.npy", bomb())], zipfile.ZIP_BZIP2),
    "a bomb that hides its size": lambda: with_declared_size(zipped([("a.npy", bomb())], zipfile.ZIP_LZMA), 100),
    "a dictionary of 4 GB": lambda: with_dictionary(zipped([("a.npy", npy("(8,)"))], zipfile.ZIP_LZMA), 2**32 - 1),
    "a name twice": lambda: zipped([("a.npy", npy("(8,)")), ("a.npy", npy("(8,)", data=b"1" * 8))]),
    "a name that climbs": lambda: zipped([("../../a.npy", npy("(8,)"))]),
    "an absolute name": lambda: zipped([("/tmp/a.npy", npy("(8,)"))]),
    "a name with a null byte": lambda: zipped([("a\0b.npy", npy("(8,)"))]),
    "a folder": lambda: zipped([("a/", b"")]),
    "thousands of members": lambda: zipped([(f"a{n}.npy", npy("(8,)")) for n in range(3000)]),
    "no zip": lambda: b"PK\x05\x06" * 100,
    "empty": lambda: b"",
    "an end and nothing else": lambda: b"PK\x05\x06" + b"\xff" * 18,
    "zip64": lambda: b"PK\x06\x07" + b"\0" * 16 + b"PK\x05\x06" + b"\xff" * 16 + b"\0\0",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_arrays(tmp_path: Path, what: str) -> None:
    """Refused within 24 MiB beyond the file, and nothing appears anywhere."""
    path = tmp_path / "x" / "hostile.npz"
    path.parent.mkdir()
    content = HOSTILE[what]()  # a second of compression, which only the process with this test is to take
    path.write_bytes(content)
    with memory_below(24 * MIB + 2 * len(content)):
        assert not refused_or_read(lambda: unpack(path, MIB))
        comment_of(path)
    assert list(tmp_path.rglob("*")) == [path.parent, path]


def test_arrays_without_elements(tmp_path: Path) -> None:
    """An LZMA stream of nothing, and scalars: as numpy reads them."""
    path = tmp_path / "e.npz"
    path.write_bytes(pack({"a": np.zeros((0, 4), np.float32), "b": np.zeros((), np.int64)}))
    ours = unpack(path)
    with np.load(path) as theirs:
        assert [(a.shape, a.dtype) for a in ours.values()] == [(a.shape, a.dtype) for a in theirs.values()]


@PROFILE
@given(
    arrays=st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_.]{0,10}", fullmatch=True),
        st.tuples(
            st.sampled_from(["u1", "i4", "i8", "f4", "f8", "b1"]),
            st.lists(st.integers(0, 5), max_size=3),
            st.integers(0),
        ),
        max_size=4,
    )
)
def test_what_was_packed_is_unpacked(arrays: dict[str, Any], tmp_path_factory: Any) -> None:
    """Every array that the suite could write comes back: compared with numpy's own reader."""
    made = {
        name: np.frombuffer(np.random.default_rng(seed).bytes(8 * int(np.prod(shape))), "u1")[: int(np.prod(shape))]
        .astype(kind)
        .reshape(shape)
        for name, (kind, shape, seed) in arrays.items()
    }
    path = tmp_path_factory.getbasetemp() / "round.npz"
    path.write_bytes(pack(made))
    ours = unpack(path)
    with np.load(path) as theirs:
        assert list(ours) == list(theirs.files)
        for name in ours:
            assert ours[name].dtype == theirs[name].dtype
            assert np.array_equal(ours[name], theirs[name])


@PROFILE
@given(data=st.data())
def test_damaged_weights(data: st.DataObject, tmp_path_factory: Any) -> None:
    """Scratch weights (safetensors) that are damaged mean `make them again`."""
    import torch

    from benchmark.training.checkpoint import load_weights, save_weights

    folder = tmp_path_factory.mktemp("w")
    path = folder / "w.safetensors"
    save_weights(path, {"a": torch.ones(3, 4), "b": torch.zeros(2)}, folder)
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    with memory_below(64 * MIB):
        load_weights(path)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F8_E8M0", "shape": [8], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F4", "shape": [16], "data_offsets": [0, 8]}},
        {"a": {"dtype": "X", "shape": [8], "data_offsets": [0, 8]}},
        {"a": {"dtype": "U8", "shape": [2**63, 2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "U64", "shape": [1], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"../../a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
        {},
        [],
    ],
)
def test_hostile_weights(tmp_path: Path, header: Any) -> None:
    from benchmark.training.checkpoint import load_weights

    text = json.dumps(header).encode()
    path = tmp_path / "w.safetensors"
    for length in (len(text), 2**63, 100):
        path.write_bytes(struct.pack("<Q", length) + text + b"\0" * 8)
        load_weights(path)
    assert list(tmp_path.iterdir()) == [path]
