"""Loaders of files that anybody may have made: a value or one LotterybenchError, in bounded memory, and no hang.

No test here says what a damaged file means; each says what must never happen, whatever the bytes are.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzzing import PROFILE, VALUES, altered, damaged, memory_below, refused_or_read
from hypothesis import example, given
from hypothesis import strategies as st
from record_documents import document_of, text_of

from benchmark import protocols
from benchmark.claims import papers as published
from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell, method_names
from benchmark.records import schema as records
from benchmark.records.masks import nested_masks_in
from benchmark.records.paths import ResultPaths, file_groups
from benchmark.records.store import Store
from benchmark.utils import strict_yaml
from benchmark.utils.errors import BadInput
from benchmark.utils.files import MIB, read_limited
from benchmark.utils.npz import comment_of, unpack


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
    refused_or_read(lambda: records.parse(text_of(document), "r.json"))


@PROFILE
@given(data=st.data())
def test_damaged_records(tiny_protocol: Protocol, data: st.DataObject) -> None:
    content = data.draw(damaged(text_of(document_of(tiny_protocol)).encode()))
    refused_or_read(lambda: records.parse(content.decode("utf-8", errors="surrogateescape"), "r.json"))


@PROFILE
@given(data=st.data())
def test_records_in_a_folder(tiny_protocol: Protocol, data: st.DataObject, tmp_path_factory: Any) -> None:
    """Whatever a record says about itself, nothing is read or written elsewhere, and the folder's reader survives."""
    root = tmp_path_factory.mktemp("r")
    path = root / tiny_protocol.key / "imp" / "level-02_seed-1.json"
    path.parent.mkdir(parents=True)
    path.write_text(text_of(data.draw(altered(document_of(tiny_protocol)))))
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
        assert Store(tmp_path).records(tiny_protocol) == []  # it names itself in a warning
        assert not refused_or_read(lambda: nested_masks_in(path_of_masks, tiny_protocol))


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, Path("a\0b")):
        with pytest.raises(BadInput):
            read_limited(path, 100)


PARTS = ("tests", "tiny@1", "imp", "..", "", "level-01_seed-0.json", "level-01_seed-0.curves.npz", "seed-0.masks.npz")


@PROFILE
@given(st.text(max_size=60) | st.lists(st.sampled_from(PARTS), max_size=5).map("/".join))
@example("tests/tiny@1/imp/level-01_seed-0.json")
@example("tests/tiny@1/imp/level-01_seed-0.curves.npz")
@example("tests/tiny@1/imp/seed-0.masks.npz")
def test_no_path_leads_out_of_the_folder(tiny_protocol: Protocol, text: str) -> None:
    """A path is one of those that the store itself would write, or nobody's."""
    known = ResultPaths([(tiny_protocol, method) for method in method_names(tiny_protocol)])
    found, store = known.of(text), Store(Path("/r"))
    if text.startswith("tests/tiny@1/imp/") and text.endswith(PARTS[5:]) and text.count("/") == 3:
        assert found is not None
    if found is not None:
        assert found.under(store.root).resolve().is_relative_to("/r/tests/tiny@1")
        cell = found.cell or Cell(found.method, 1, found.seed)
        paths = {store.record_path(tiny_protocol, cell), store.curves_path(tiny_protocol, cell)}
        paths |= {store.nested_masks_path(tiny_protocol, found.method, found.seed)}
        assert found.under(store.root) in paths
        assert file_groups([found])[0].result_paths == (found,)


@PROFILE
@given(VALUES)
def test_any_value_as_a_document(value: Any) -> None:
    for parse in (protocols.parse, published.parse):
        refused_or_read(lambda parse=parse: parse(value, "f"))  # type: ignore[misc,operator]
