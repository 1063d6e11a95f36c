"""Record files as a folder of results holds them: found in order, read once, read again when they changed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from benchmark.claims.observations import Observations
from benchmark.claims.verdicts import decide, decide_all
from benchmark.perf.verbs import copy_records
from benchmark.protocols import Protocol, load
from benchmark.records import schema as records
from benchmark.records.schema import Record
from benchmark.records.store import RecordFiles, Store
from benchmark.utils.errors import BadInput

RESULTS = Path(__file__).parents[2] / "results"
SYNFLOW = next(p for p in sorted((RESULTS / "synflow").iterdir()))
KEY = f"synflow/{SYNFLOW.name}"
SOME = sorted(SYNFLOW.glob("*/level-*.json"))[:3]


@pytest.fixture
def protocol() -> Protocol:
    """The protocol that the records of these tests were made under."""
    return load(KEY.partition("@")[0])


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are parsed."""
    names: list[str] = []
    parse = records.parse

    def counting(text: str, name: str) -> Record:
        names.append(name)
        return parse(text, name)

    monkeypatch.setattr(records, "parse", counting)
    return names


def put(root: Path, original: Path, **cell: Any) -> Path:
    """A copy of a committed record in its place, of another cell if so asked."""
    document = json.loads(original.read_text())
    document["cell"].update(cell)
    name = f"level-{document['cell']['level']:02d}_seed-{document['cell']['seed']}.json"
    path = root / KEY / document["method"]["name"] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def test_files_are_those_of_a_glob_in_its_order(tmp_path: Path) -> None:
    names = ["level-01_seed-0.json", "level-01_seed-10.json", "level-01_seed-2.json", "level-1.json", "level-.json"]
    others = [
        "level-01_seed-0.curves.npz",
        "xlevel-01.json",
        "level-01.json.tmp",
        "submission.json",
        "seed-0.masks.npz",
    ]
    for method in ("imp", "imp+reinit", "a@b=0.5", "dense", ".hidden"):
        (tmp_path / KEY / method).mkdir(parents=True)
        for name in [*names, *others]:
            (tmp_path / KEY / method / name).touch()
    (tmp_path / KEY / "level-00_seed-0.json").touch()  # not in a method's folder
    expected = sorted((tmp_path / KEY).glob("*/level-*.json"), key=lambda path: path.parts)
    assert RecordFiles(tmp_path).of_protocol(KEY) == [str(path) for path in expected]
    assert len(expected) == 5 * len(names)
    assert RecordFiles(tmp_path).of_protocol("synflow/nobody@1") == []
    assert RecordFiles(tmp_path / "nowhere").of_protocol(KEY) == []


def test_a_file_is_parsed_once_and_again_when_it_is_another(
    tmp_path: Path, protocol: Protocol, counted: list[str]
) -> None:
    """Another content, and another file of the same size and time: a rename puts a new one in its place."""
    path, store = put(tmp_path, SOME[0]), Store(tmp_path)
    first = store.records(protocol)
    assert store.records(protocol) == first
    assert counted == [str(path)]
    before, text = path.stat(), path.read_text()
    changed = text.replace('"status": "finished"', '"status": "failed"', 1)
    path.write_text(changed)
    assert [r.status for r in store.records(protocol)] == ["failed"]
    again = tmp_path / "again.json"
    again.write_text(text)
    os.utime(again, ns=(before.st_atime_ns, before.st_mtime_ns))
    again.replace(path)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_size == before.st_size
    assert store.records(protocol) == first
    assert len(counted) == 3


def test_a_record_that_vanishes_or_lies_elsewhere_is_named(
    tmp_path: Path, protocol: Protocol, caplog: pytest.LogCaptureFixture
) -> None:
    path, files = put(tmp_path, SOME[0]), RecordFiles(tmp_path)
    files.read(str(path))
    moved = path.with_name("level-99_seed-7.json")
    path.replace(moved)
    for missing in (path, moved):
        with pytest.raises(BadInput) as caught:
            files.read(str(missing))
        assert caught.value.thing == str(missing)
    assert "is the record of" in caught.value.cause
    assert Store(tmp_path).records(protocol) == []
    assert "is the record of" in caplog.text


def test_a_folder_may_be_the_one_that_one_works_in(
    tmp_path: Path, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, SOME[0])
    monkeypatch.chdir(tmp_path)
    assert len(Store(Path()).records(protocol)) == len(Store(Path.cwd()).records(protocol)) == 1


def test_copies_are_valid_records_of_further_seeds(tmp_path: Path, protocol: Protocol) -> None:
    for path in SOME:
        put(tmp_path / "some", path)
    source = Store(tmp_path / "some")
    originals = source.records(protocol)
    copy_records(source, [protocol], tmp_path / "many", 8)
    found = Store(tmp_path / "many").records(protocol)
    cells = {(r.method.name, r.cell.level, r.cell.seed) for r in found}
    assert len(found) == len(cells) == 8
    assert all(any(r.mask == o.mask and r.cell.level == o.cell.level for o in originals) for r in found)
    with pytest.raises(BadInput, match="no record to copy"):
        copy_records(Store(tmp_path / "none"), [protocol], tmp_path / "more", 8)


def test_verdicts_rest_on_records_alone_however_they_came(protocol: Protocol) -> None:
    store = Store(RESULTS)
    seen = {protocol.id: Observations(protocol, reversed(store.records(protocol)))}
    assert decide_all(seen) == decide(store, [protocol])


def test_seeds_are_complete_where_every_point_has_a_value(protocol: Protocol) -> None:
    """Against a slow reference: one look at every record for every question."""
    seen = Observations(protocol, Store(RESULTS).records(protocol))
    points = sorted({(method, level) for method, level, _ in seen.records})
    seeds = sorted({seed for _, _, seed in seen.records})
    for metric in ("empty-layers", "score-slope", "last-accuracy"):
        for asked in (points[:1], points[:5], points, [*points[:2], ("nobody", 3)], []):
            slow = [s for s in seeds if asked and all(seen.value(metric, point, s) is not None for point in asked)]
            assert seen.complete_seeds(metric, asked) == tuple(slow)
