"""Records and the results folder: what is written is read back, what is damaged is refused, what is foreign ignored."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from record_documents import document_of, schema_1_of, text_of

from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell
from benchmark.records.schema import RECORD_SCHEMA, SCHEMA_1, MetricValues, Record, RecordV1, parse
from benchmark.records.store import Store
from benchmark.utils.errors import BadInput

CELL = Cell("imp", 2, 1)


@pytest.fixture(params=[document_of, schema_1_of], ids=["schema-2", "schema-1"])
def document(request: pytest.FixtureRequest, tiny_protocol: Protocol) -> dict[str, Any]:
    """A record to spoil, in each schema."""
    made: dict[str, Any] = request.param(tiny_protocol)
    return made


def figures_of(document: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """Where a document of either schema holds the last value of a metric: the mapping and its key."""
    measured = document["measured"]
    if "metrics" in measured:
        return measured["metrics"][name], "last"
    if name == "test_accuracy":
        return measured["test_accuracy_percent"], "last"
    return measured, f"{name}_last"


def record_of(document: dict[str, Any]) -> Record:
    """Through the parser, as from a file."""
    return parse(text_of(document), "file.json")


def placed(document: dict[str, Any], before: str, **more: Any) -> dict[str, Any]:
    """With further fields in the place where a record's text has them."""
    at = list(document).index(before)
    items = list(document.items())
    return dict([*items[:at], *more.items(), *items[at:]])


def test_round_trip_is_exact(document: dict[str, Any]) -> None:
    record = record_of(document)
    assert parse(record.dumps(), "again.json") == record
    assert json.loads(record.dumps()) == document
    assert list(json.loads(record.dumps())) == list(document)  # field order, so that diffs can be read


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_finite_number_survives(tiny_protocol: Protocol, number: float) -> None:
    for make in (document_of, schema_1_of):
        document = make(tiny_protocol)
        place, key = figures_of(document, "test_loss")
        place[key] = number
        measured = parse(record_of(document).dumps(), "f").measured
        assert measured is not None
        assert math.copysign(1, measured.last("test_loss")) == math.copysign(1, number)
        assert measured.last("test_loss") == number


def test_fingerprint_ignores_clocks_and_provenance_and_nothing_else(document: dict[str, Any]) -> None:
    first = record_of(document).fingerprint()
    for key in ("train_seconds", "train_cpu_seconds", "prune_seconds"):
        document["cost"][key] += 1
    document["cost"] = placed(document["cost"], "mask_train_steps", evaluation_cpu_seconds=0.5)
    document["cost"] = placed(document["cost"], "prune_seconds", mask_train_seconds=2.0, mask_train_cpu_seconds=1.5)
    document["provenance"].update(commit=None, device="other", finished_utc="2027-01-01T00:00:00Z", python="4")
    assert record_of(document).fingerprint() == first
    changes: list[Callable[[dict[str, Any]], Any]] = [
        lambda d: operator.setitem(*figures_of(d, "test_loss"), math.nextafter(0.1, 1)),
        lambda d: figures_of(d, "test_accuracy")[0].update(best=98.01),
        lambda d: d["mask"].update(sha256="ce"),
        lambda d: d["mask"]["layers"]["fc1"].update(kept=4),
        lambda d: d["cell"].update(draw=1),
        lambda d: d["protocol"].update(digest="0"),
        lambda d: d["method"].update(pruner_digest="0"),
        lambda d: d["method"]["parameters"].update(t=1e-3),
        lambda d: d["cost"].update(prune_examples=11),
        lambda d: d["cost"].update(train_steps=21),
        lambda d: d.update(curves_sha256="0"),
        lambda d: d.update(status="failed", reason="x"),
    ]
    seen = {first}
    for change in changes:
        altered = json.loads(json.dumps(document))
        change(altered)
        seen.add(record_of(altered).fingerprint())
    assert len(seen) == 1 + len(changes)


def test_both_schemas_are_one_record(tiny_protocol: Protocol) -> None:
    """What scoring sees, and what a re-run is compared by, is the same; each is written back as it was read."""
    old, new = record_of(schema_1_of(tiny_protocol)), record_of(document_of(tiny_protocol))
    assert old.model_copy(update={"schema_": RECORD_SCHEMA}) == new
    assert old.fingerprint() == new.fingerprint()
    assert json.loads(old.dumps()) == schema_1_of(tiny_protocol)


def test_a_rerun_that_says_more_of_its_mask_has_the_same_fingerprint(document: dict[str, Any]) -> None:
    """Effective weights follow from the mask, whose digest counts; records from before they were counted have none."""
    first = record_of(document).fingerprint()
    document["mask"] = placed(document["mask"], "sha256", effective=1, disconnected=False)
    assert record_of(document).fingerprint() == first
    document["mask"]["sha256"] = "0" * 64
    assert record_of(document).fingerprint() != first


def test_a_replica_group_is_read_from_both_schemas(tiny_protocol: Protocol) -> None:
    for make, key in ((document_of, "replica_group"), (schema_1_of, "company")):
        document = make(tiny_protocol)
        document["provenance"][key] = "2 side by side, stacked"
        record = record_of(document)
        assert record.provenance.replica_group == "2 side by side, stacked"
        assert json.loads(record.dumps()) == document


@pytest.mark.parametrize("of", [9, pytest.param(1, marks=pytest.mark.long)])
def test_every_committed_record_is_the_same_in_schema_2(of: int) -> None:
    """Each, or one `of` so many, is read, and those of schema 1 have the same content and fingerprint in schema 2.

    Reading compares a text with a quick form of it; the exact one is made of all of schema 1 and some of schema 2.
    """
    paths = [
        path for path in (Path(__file__).parents[2] / "results").rglob("*_seed-*.json") if path.parent.name[0] != "."
    ]
    assert len(paths) > 1000
    for number, path in enumerate(sorted(paths)[::of]):
        text = path.read_text(encoding="utf-8")
        record = parse(text, str(path))
        if record.schema_ == RECORD_SCHEMA:
            assert number % 7 or record.dumps() == text
            continue
        assert record.dumps() == text
        renewed = record.model_copy(update={"schema_": RECORD_SCHEMA})
        again = parse(renewed.dumps(), str(path))
        assert (again, again.fingerprint()) == (renewed, record.fingerprint())
        assert RecordV1.of(again.model_copy(update={"schema_": SCHEMA_1})).record() == record


def test_a_failed_record_has_a_fingerprint_too(document: dict[str, Any]) -> None:
    document.update(status="failed", reason="NaN", mask=None, measured=None, cost=None, curves_sha256=None)
    assert len(record_of(document).fingerprint()) == 64


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_no_nan_gets_in_or_out(document: dict[str, Any], value: str) -> None:
    text = text_of(document).replace("1e-12", value)
    with pytest.raises(BadInput, match=r"measured\.(train_loss_last|metrics\.train_loss\.last)"):
        parse(text, "file.json")
    with pytest.raises(ValidationError, match="finite"):
        MetricValues(unit="nats", last=float(value))


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda t: t[: len(t) // 2], "not JSON"),
        (lambda _t: "", "not JSON"),
        (lambda _t: "[" * 100_000, "not JSON"),
        (lambda _t: "[]", "its schema is None"),
        (
            lambda t: re.sub("record/[12]", "record/3", t),
            "its schema is 'lotterybench/record/3', this version reads 'lotterybench/record/2'",
        ),
        (lambda t: t[:-2] + ', "schema": "lotterybench/record/' + ("1" if "record/2" in t else "2") + '"}', ""),
        (
            lambda t: t.replace('"kept": 5,\n  "prunable"', '"kept": "5",\n  "prunable"'),
            "mask.kept: Input should be a valid int",
        ),
        (lambda t: t.replace('"status"', '"stat"'), "status: Field required"),
        (lambda t: t.replace("finished", "done", 1), "status"),
    ],
)
def test_damaged_and_newer_records_are_refused(
    document: dict[str, Any], spoil: Callable[[str], str], cause: str
) -> None:
    with pytest.raises(BadInput) as caught:
        parse(spoil(text_of(document)), "some/file.json")
    assert caught.value.thing == "some/file.json"
    assert cause in caught.value.cause
    assert caught.value.fix


def test_cells_have_their_own_files(tmp_path: Path, tiny_protocol: Protocol) -> None:
    store = Store(tmp_path)
    cells = [Cell(m, lv, s, d) for m in ("imp", "imp+reinit") for lv in (1, 10) for s in (0, 1) for d in (0, 1)]
    assert len({store.record_path(tiny_protocol, cell) for cell in cells}) == len(cells)
    assert str(store.record_path(tiny_protocol, CELL)).endswith("tests/tiny@1/imp/level-02_seed-1.json")


def test_store_round_trip_and_order(tmp_path: Path, tiny_protocol: Protocol, document: dict[str, Any]) -> None:
    store, record = Store(tmp_path), record_of(document)
    assert store.read(tiny_protocol, CELL) is None
    assert store.records(tiny_protocol) == []
    store.write(tiny_protocol, CELL, record, b"curves")
    assert store.read(tiny_protocol, CELL) == record
    assert store.records(tiny_protocol) == [record]
    assert store.curves_path(tiny_protocol, CELL).read_bytes() == b"curves"
    assert not list((tmp_path / ".work" / "unfinished").iterdir())


def test_a_folder_as_it_is_stays_as_it_was_seen(
    tmp_path: Path, tiny_protocol: Protocol, document: dict[str, Any]
) -> None:
    """What others write after the first look is seen by the store, and not by what a plan is made from."""
    store, record = Store(tmp_path), record_of(document)
    now = store.as_it_is()
    assert now.records(tiny_protocol) == [] == store.records(tiny_protocol)
    store.write(tiny_protocol, CELL, record, None)
    assert now.as_it_is().records(tiny_protocol) == []
    assert store.records(tiny_protocol) == store.as_it_is().records(tiny_protocol) == [record]
    assert now.read(tiny_protocol, CELL) == record  # single cells are looked at when asked for


def test_records_of_another_digest_are_ignored_and_kept(
    tmp_path: Path, tiny_protocol: Protocol, document: dict[str, Any]
) -> None:
    store = Store(tmp_path)
    document["protocol"]["digest"] = "f" * 64
    store.write(tiny_protocol, CELL, record_of(document), None)
    assert store.read(tiny_protocol, CELL) is None
    assert store.records(tiny_protocol) == []
    assert store.record_path(tiny_protocol, CELL).exists()


def test_a_damaged_file_is_named_once_and_left_alone(
    tmp_path: Path, tiny_protocol: Protocol, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    path = store.record_path(tiny_protocol, CELL)
    path.parent.mkdir(parents=True)
    for content in (b'{"schema"', b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(BadInput) as caught:
            store.read(tiny_protocol, CELL)
        assert caught.value.thing == str(path)
        assert store.records(tiny_protocol) == []
        assert store.settled(tiny_protocol, CELL, retry_failed=True)  # else a run would replace it
        assert path.read_bytes() == content
    assert caplog.text.count(str(path)) == 1
