"""What a plan remembers of claims: the same decisions, and none once anything that they rest on has changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from builders import Outcome, fill, record

from benchmark import protocols
from benchmark.claims.observations import Observations, all_gathered
from benchmark.claims.verdicts import decide_open
from benchmark.planning import priority as remembering
from benchmark.planning.priority import ClaimStatus, open_claims, worked_out
from benchmark.protocols.cells import Cell
from benchmark.records.store import Store

LTH, MNIST1D = protocols.load("lth/lenet-mnist@1"), protocols.load("mnist1d/mlp")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two seeds of a few levels of LeNet, with the early stops that ratios are made of."""
    made = Store(tmp_path / "results")

    def world(cell: Cell) -> Outcome | None:
        noise = ((7 * cell.seed + 3 * cell.level + len(cell.method)) % 5) / 10
        wanted = cell.seed < 2 and cell.method in ("dense", "imp", "imp+reinit", "one-shot")
        return Outcome(97 + noise, 4000 + 100 * cell.level) if wanted else None

    fill(made, LTH, world)
    return made


def gathered(store: Store) -> dict[str, Observations]:
    """As a plan sees it: by a process of its own."""
    return all_gathered([LTH, MNIST1D], [store])


def asked(store: Store, monkeypatch: pytest.MonkeyPatch, retry_failed: bool = False) -> tuple[list[ClaimStatus], bool]:
    """(what a new process is told, whether that was worked out anew)."""
    calls = []

    def decide(seen: Mapping[str, Observations], retry: bool) -> list[ClaimStatus]:
        calls.append(retry)
        return worked_out(seen, retry)

    monkeypatch.setattr(remembering, "worked_out", decide)
    fresh = Store(store.root)
    return open_claims(fresh, gathered(fresh), retry_failed), bool(calls)


def test_what_is_remembered_is_what_was_decided(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = decide_open(gathered(store))
    expected = worked_out(gathered(store), False)
    assert [(s.paper, s.claim, s.part_of, s.verdict, s.seeds_still_needed, s.cells) for s in expected] == [
        (d.paper, d.claim, d.part_of, d.verdict, d.seeds_still_needed, d.cells) for d in decisions
    ]
    assert {(s.verdict, s.seeds_measured) for s in expected} >= {("inconclusive", 2), ("not measured", 0)}
    assert asked(store, monkeypatch) == (expected, True)
    assert asked(store, monkeypatch) == (expected, False)
    assert asked(store, monkeypatch, retry_failed=True) == (expected, True)
    assert asked(store, monkeypatch) == (expected, False)


def test_another_record_is_noticed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(store, monkeypatch)
    cell = Cell("dense", 0, 2)
    store.write(LTH, cell, record(LTH, cell, Outcome(97.0, 4000)), None)
    found, anew = asked(store, monkeypatch)
    assert anew
    assert found == worked_out(gathered(store), False)
    store.write(LTH, cell, record(LTH, cell, Outcome(99.0, 100)), None)
    assert asked(store, monkeypatch)[1]
    store.record_path(LTH, cell).unlink()
    assert asked(store, monkeypatch)[1]
    assert not asked(store, monkeypatch)[1]


def test_a_changed_claim_or_rule_is_noticed(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package" / "published"
    package.mkdir(parents=True)
    claims = package / "lth.yaml"
    claims.write_text("one")
    monkeypatch.setattr(remembering, "PACKAGE", package.parent)
    assert [asked(store, monkeypatch)[1] for _ in range(2)] == [True, False]
    (package / "notes.txt").write_text("no claim")
    assert not asked(store, monkeypatch)[1]
    before = claims.stat()
    claims.write_text("two")
    os.utime(claims, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert asked(store, monkeypatch)[1]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'["state", [{}]]', b"\xff\xfe"])
def test_a_damaged_memory_is_no_memory(store: Store, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    expected, _ = asked(store, monkeypatch)
    (file,) = (store.work / "open-claims").glob("*.json")
    file.write_bytes(content)
    assert asked(store, monkeypatch) == (expected, True)
    assert asked(store, monkeypatch) == (expected, False)


def test_nothing_is_remembered_of_nothing_or_where_nothing_can_be_written(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = Store(tmp_path / "empty")
    open_claims(empty, gathered(empty))
    assert not empty.root.exists()
    store.work.write_text("a file where the folder would be")
    assert [asked(store, monkeypatch)[1] for _ in range(2)] == [True, True]
