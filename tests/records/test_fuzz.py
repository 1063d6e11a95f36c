"""Loaders of files that anybody may have made: a value or one LotterybenchError, in bounded memory, and no hang.

No test here says what a damaged file means; each says what must never happen, whatever the bytes are.
"""

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
import yaml
from fuzzing import VALUES, altered, damaged, memory_below
from hypothesis import given, settings
from hypothesis import strategies as st
from record_documents import document_of

from benchmark import protocols
from benchmark.claims import papers as published
from benchmark.protocols import Protocol
from benchmark.protocols.cells import method_names
from benchmark.records import schema as records
from benchmark.records.masks import NestedMasks, nested_masks_in
from benchmark.records.paths import ResultPaths, file_groups
from benchmark.records.store import Store
from benchmark.utils import strict_yaml
from benchmark.utils.errors import BadInput, LotterybenchError
from benchmark.utils.files import MIB, read_limited
from benchmark.utils.npz import comment_of, pack, unpack

PROFILE = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "loaders"))
ARRAYS = {"fc1.weight": np.arange(48, dtype=np.uint8).reshape(6, 8), "costs": np.linspace(0, 1, 12).reshape(3, 4)}
PACKED = pack(ARRAYS, "c" * 64)


def refused_or_read(load: Callable[[], object]) -> bool:
    """Whether `load` gave a value; anything it raises but a LotterybenchError of one line fails the test."""
    problem = None
    try:
        load()
    except LotterybenchError as error:
        problem = str(error)
    assert problem is None or (len(problem.splitlines()) <= 1 and len(problem) < 3100)
    return problem is None


def loads_yaml(text: str) -> None:
    """Through every loader of YAML."""
    found: list[Any] = []
    refused_or_read(lambda: found.append(strict_yaml.load_text(text, "f.yaml")))
    for document in found:
        for parse in (protocols.parse, published.parse):
            refused_or_read(lambda parse=parse, document=document: parse(document, "f.yaml"))  # type: ignore[misc]


def yaml_of(value: Any) -> str:
    """The value in YAML's JSON form."""
    return json.dumps(value)


TINY_TEXT = (Path(__file__).parents[1] / "support" / "protocols" / "tiny.yaml").read_text()
TINY = yaml.safe_load(TINY_TEXT.replace("1e-", "1.0e-"))
PAPER_TEXT = (published.folder() / "mnist1d.yaml").read_text()


def paper_document() -> Any:
    """Published numbers as plain data."""
    return strict_yaml.load_text(PAPER_TEXT, "paper.yaml")


@PROFILE
@given(st.text(max_size=300) | st.text(alphabet="{}[]:,-&*!|>'\"#%@ \n\tab01.e", max_size=120))
def test_any_text_as_yaml(text: str) -> None:
    loads_yaml(text)


@PROFILE
@given(content=st.binary(max_size=300))
def test_any_bytes_as_a_file(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any-bytes"
    path.write_bytes(content)
    for load in (protocols.load_file, published.load_file, unpack, comment_of, strict_yaml.load_file):
        refused_or_read(lambda load=load: load(path))  # type: ignore[misc,operator]


@PROFILE
@given(damaged(TINY_TEXT.encode()) | damaged(PAPER_TEXT.encode()))
def test_damaged_yaml(content: bytes) -> None:
    loads_yaml(content.decode("utf-8", errors="replace"))


@PROFILE
@given(data=st.data())
def test_altered_protocols(data: st.DataObject) -> None:
    document = data.draw(altered(TINY))
    refused_or_read(lambda: protocols.parse(document, "f.yaml"))
    loads_yaml(yaml_of(document))


@PROFILE
@given(data=st.data())
def test_altered_published_numbers(data: st.DataObject) -> None:
    document = data.draw(altered(paper_document()))
    refused_or_read(lambda: published.parse(document, "f.yaml"))


@PROFILE
@given(data=st.data())
def test_altered_records(tiny_protocol: Protocol, data: st.DataObject) -> None:
    document = data.draw(altered(document_of(tiny_protocol)))
    refused_or_read(lambda: records.parse(json.dumps(document), "r.json"))


@PROFILE
@given(data=st.data())
def test_damaged_records(tiny_protocol: Protocol, data: st.DataObject) -> None:
    content = data.draw(damaged(json.dumps(document_of(tiny_protocol)).encode()))
    refused_or_read(lambda: records.parse(content.decode("utf-8", errors="surrogateescape"), "r.json"))


@PROFILE
@given(data=st.data())
def test_records_in_a_folder(tiny_protocol: Protocol, data: st.DataObject, tmp_path_factory: Any) -> None:
    """Whatever a record says about itself, nothing is read or written elsewhere, and the folder's reader survives."""
    root = tmp_path_factory.mktemp("r")
    path = root / tiny_protocol.key / "imp" / "level-02_seed-1.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(data.draw(altered(document_of(tiny_protocol)))))
    before = sorted(root.rglob("*"))
    refused_or_read(lambda: Store(root).records(tiny_protocol))
    refused_or_read(lambda: Store(root).refuse_other_document(tiny_protocol))
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    "text",
    [
        "1" * 5000,
        '{"schema": ' + "9" * 5000 + "}",
        '{"schema": 1e999999}',
        "[" * 100_000,
        '{"a":' * 50_000,
        '"' + "\\ud800" * 10 + '"',
        '{"schema": "' + "x" * 100_000 + '"}',
        '{"schema": "lotterybench/record/1", "a\\n\\u2028b": 1}',
        "\ufeff{}",
        "nul",
        "\x00",
    ],
    ids=range(11),
)
def test_odd_json(text: str) -> None:
    assert not refused_or_read(lambda: records.parse(text, "r.json"))


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        LAUGHS.replace("[", "{x: ").replace("]", "}").replace(", ", ", y: "),
        "schema: lotterybench/protocol/1\nid: &x [1]\n" + "".join(f"k{n}: *x\n" for n in range(2000)),
        "[" * 3000,
        "- " * 5000,
        "{a: " * 2000,
        "? " * 3000,
        "&a " * 500,
        "a: |\n" + " " * 100_000,
        "'" * 100_001,
        "9" * 100_000,
        "1" + "e9" * 10_000,
        "%YAML 9.9\n---\na",
        '"\\ud800"',
        "\ufeff\ufeff",
        "a: 1e999\n",
    ],
    ids=range(16),
)
def test_odd_yaml(text: str) -> None:
    """Billion laughs, deep nesting, endless numbers: refused or read at once, in little memory."""
    with memory_below(64 * MIB):
        loads_yaml(text)


def test_long_files_are_not_read_to_their_end(tmp_path: Path, tiny_protocol: Protocol) -> None:
    """A sparse file of 8 GB costs nothing to make, and nothing to refuse."""
    path = tmp_path / "long.yaml"
    with path.open("wb") as file:
        file.truncate(8 * 2**30)
    record = tmp_path / tiny_protocol.key / "imp" / "level-02_seed-1.json"
    record.parent.mkdir(parents=True)
    path_of_masks = record.with_name("seed-0.masks.npz")
    record.symlink_to(path)
    path_of_masks.symlink_to(path)
    with memory_below(160 * MIB):
        for load in (protocols.load_file, published.load_file, unpack):
            assert not refused_or_read(lambda load=load: load(path))  # type: ignore[misc,operator]
        assert not refused_or_read(lambda: Store(tmp_path).records(tiny_protocol))
        assert not refused_or_read(lambda: nested_masks_in(path_of_masks, tiny_protocol))


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, Path("a\0b")):
        with pytest.raises(BadInput):
            read_limited(path, 100)


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


BOMB = (
    npy("(400000000,)", data=b"\0" * 400_000_000)
    if os.environ.get("HUGE")
    else npy("(40000000,)", data=b"\0" * 40_000_000)
)

HOSTILE = {
    "a shape without bytes": zipped([("a.npy", npy("(1000000000000,)"))]),
    "a shape beyond integers": zipped([("a.npy", npy("(99999999999999999999,)"))]),
    "a shape that wraps around to zero": zipped([("a.npy", npy("(4294967296, 4294967296)", data=b""))]),
    "a negative shape": zipped([("a.npy", npy("(-8,)"))]),
    "too many dimensions": zipped([("a.npy", npy("(" + "1, " * 40 + ")", data=b"\0"))]),
    "a shape that is code": zipped([("a.npy", npy("(__import__('os').getpid(),)"))]),
    "objects": zipped([("a.npy", npy("(1,)", "|O"))]),
    "text": zipped([("a.npy", npy("(1,)", "<U2"))]),
    "void": zipped([("a.npy", npy("(1,)", "|V8"))]),
    "deep header": zipped([("a.npy", npy("(" * 5000 + ")" * 5000))]),
    "a bomb of zeros": zipped([("a.npy", BOMB)], zipfile.ZIP_DEFLATED),
    "a bomb in LZMA": zipped([("a.npy", BOMB)], zipfile.ZIP_LZMA),
    "a bomb in bzip2": zipped([("a.npy", BOMB)], zipfile.ZIP_BZIP2),
    "a bomb that hides its size": with_declared_size(zipped([("a.npy", BOMB)], zipfile.ZIP_LZMA), 100),
    "a dictionary of 4 GB": with_dictionary(zipped([("a.npy", npy("(8,)"))], zipfile.ZIP_LZMA), 2**32 - 1),
    "a name twice": zipped([("a.npy", npy("(8,)")), ("a.npy", npy("(8,)", data=b"1" * 8))]),
    "a name that climbs": zipped([("../../a.npy", npy("(8,)"))]),
    "an absolute name": zipped([("/tmp/a.npy", npy("(8,)"))]),
    "a name with a null byte": zipped([("a\0b.npy", npy("(8,)"))]),
    "a folder": zipped([("a/", b"")]),
    "thousands of members": zipped([(f"a{n}.npy", npy("(8,)")) for n in range(3000)]),
    "no zip": b"PK\x05\x06" * 100,
    "empty": b"",
    "an end and nothing else": b"PK\x05\x06" + b"\xff" * 18,
    "zip64": b"PK\x06\x07" + b"\0" * 16 + b"PK\x05\x06" + b"\xff" * 16 + b"\0\0",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_arrays(tmp_path: Path, what: str) -> None:
    """Refused within 24 MiB beyond the file, and nothing appears anywhere."""
    path = tmp_path / "x" / "hostile.npz"
    path.parent.mkdir()
    path.write_bytes(HOSTILE[what])
    with memory_below(24 * MIB + 2 * len(HOSTILE[what])):
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


@PROFILE
@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["tests", "tiny@1", "imp", "..", "", "level-01_seed-0.json"])).map("/".join)
)
def test_no_path_leads_out_of_the_folder(tiny_protocol: Protocol, text: str) -> None:
    """A path is one of those that the store itself would write, or nobody's."""
    places = ResultPaths([(tiny_protocol, method) for method in method_names(tiny_protocol)])
    place = places.of(text)
    if place is not None:
        assert place.under(Path("/r")).resolve().is_relative_to("/r/tests/tiny@1")
        store = Store(Path("/r"))
        assert place.cell is not None
        known = {store.record_path(tiny_protocol, place.cell), store.curves_path(tiny_protocol, place.cell)}
        assert place.under(Path("/r")) in known
        assert file_groups([place])[0].places == (place,)


@PROFILE
@given(VALUES)
def test_any_value_as_a_document(value: Any) -> None:
    for parse in (protocols.parse, published.parse):
        refused_or_read(lambda parse=parse: parse(value, "f"))  # type: ignore[misc,operator]
