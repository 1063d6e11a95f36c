"""Measuring again: identical bits, agreement in the mean, and a shift that must be noticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_once import copy_of, run_all

from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.sharing.remeasure import CellComparison, compare_means, differing_dense

METHODS = ("dense", "imp")


@pytest.fixture
def first(tmp_path: Path, tiny_protocol: Protocol, tiny_results: Path) -> Store:
    """A results folder with a chain and dense cells."""
    return copy_of(tiny_results, tmp_path / "first", tiny_protocol, METHODS)


@pytest.fixture
def twice(first: Store, tmp_path: Path, tiny_protocol: Protocol) -> tuple[Store, Store]:
    """Two results folders with the same chain and dense cells."""
    return first, copy_of(first.root, tmp_path / "again", tiny_protocol, METHODS)


def shift(store: Store, protocol: Protocol, points: list[float]) -> None:
    """Add to the last accuracies of the records in `store`, one after another from `points`, repeated."""
    paths = sorted((store.root / protocol.key).glob("*/level-*.json"))
    for path, amount in zip(paths, points * len(paths), strict=False):
        document = json.loads(path.read_text())
        document["measured"]["metrics"]["test_accuracy"]["last"] += amount
        path.write_text(json.dumps(document, indent=1) + "\n")


def test_the_same_machine_gives_the_same_bits(first: Store, tmp_path: Path, tiny_protocol: Protocol) -> None:
    run_all(tiny_protocol, tmp_path / "again", METHODS)
    found = compare_means(tiny_protocol, first, Store(tmp_path / "again"))
    assert found.cells == found.identical == 10
    assert not found.deviates
    assert "10 identical bit for bit" in found.sentence()


def test_a_shift_beyond_the_margin_deviates(twice: tuple[Store, Store], tiny_protocol: Protocol) -> None:
    shift(twice[1], tiny_protocol, [-0.9, -1.1])
    found = compare_means(tiny_protocol, *twice)
    assert found.identical == 0
    assert found.mean_difference == pytest.approx(-1.0)
    assert found.deviates
    assert "DEVIATES" in found.sentence()


def test_noise_around_nothing_does_not_deviate(twice: tuple[Store, Store], tiny_protocol: Protocol) -> None:
    """+-2 points by turns: a mean of 0 whose 95 % half width is t(0.975, 9) * sd / sqrt(10) = 1.508 points."""
    shift(twice[1], tiny_protocol, [2.0, -2.0])
    found = compare_means(tiny_protocol, *twice)
    assert found.mean_difference == pytest.approx(0.0, abs=1e-9)
    assert found.half_width == pytest.approx(2.2622 * 2.1082 / 10**0.5, rel=1e-3)
    assert not found.deviates


@pytest.mark.parametrize(
    ("first_by", "again_by", "pruner", "must"),
    [
        ("portable-1", "portable-1", "magnitude", True),
        ("portable-1", "portable-1", None, True),
        ("portable-1", "portable-1", "snip", False),
        ("portable-1", "portable-2", "magnitude", False),
        ("portable-1", "torch (numba is not installed)", "magnitude", False),
        (None, None, "magnitude", False),
    ],
)
def test_portable_records_must_agree_on_any_two_machines(
    first: Store, tiny_protocol: Protocol, first_by: str | None, again_by: str | None, pruner: str | None, must: bool
) -> None:
    record = first.read(tiny_protocol, Cell("imp", 1, 0))
    assert record is not None

    def made(arithmetic: str | None, device: str, updates: int) -> Record:
        return record.model_copy(
            update={
                "method": record.method.model_copy(update={"pruner": pruner}),
                "provenance": record.provenance.model_copy(update={"arithmetic": arithmetic, "device": device}),
                "cost": record.cost and record.cost.model_copy(update={"train_steps": updates}),
            }
        )

    here, there = made(first_by, "cpu: one", 1), made(again_by, "cpu: other", 2)
    assert CellComparison(here, there).differs == must
    assert not CellComparison(here, made(again_by, "cpu: other", 1)).differs


def test_dense_networks_that_differ_between_folders_are_said(
    twice: tuple[Store, Store], tiny_protocol: Protocol
) -> None:
    assert differing_dense(tiny_protocol, *twice) is None
    shift(twice[1], tiny_protocol, [0.25])
    said = differing_dense(tiny_protocol, *twice)
    assert said is not None
    assert "2 of 2 dense networks" in said
    assert "+0.25 +- 0.00 points" in said
    assert differing_dense(tiny_protocol, twice[0], Store(twice[0].root / "nothing")) is None


def test_one_differing_cell_is_no_evidence(tmp_path: Path, tiny_protocol: Protocol) -> None:
    """A single pair has no spread: nothing can be said, so nothing is called a deviation."""
    stores = Store(tmp_path / "first"), Store(tmp_path / "again")
    for store in stores:
        run_all(tiny_protocol, store.root, ["dense"])
        store.record_path(tiny_protocol, Cell("dense", 0, 1)).unlink()
    shift(stores[1], tiny_protocol, [5.0])
    assert not compare_means(tiny_protocol, *stores).deviates
