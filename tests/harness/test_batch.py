"""Many jobs at once through the harness: the same masks, nearly the same figures, the same failures, all on record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from replica_groups import run_batch

from benchmark.harness.harness import Harness, Settings
from benchmark.planning.batching import Batch, packed
from benchmark.planning.cost import CostModel
from benchmark.planning.plan import PlannedJob, plan
from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell
from benchmark.records.schema import Record
from benchmark.records.schema import parse as parse_record
from benchmark.records.store import Store
from benchmark.training.loop import Placement
from benchmark.utils.errors import OutOfTime

METHODS = ("dense", "imp", "imp+reinit", "snip", "imp-rewind")


def harness_of(
    protocol: Protocol, folder: Path, placement: Placement | None, **settings: Any
) -> tuple[Harness, list[Any]]:
    """A harness in an empty folder, and its plan."""
    store = Store(folder)
    planned = plan([(protocol, name) for name in METHODS], store)
    return Harness(protocol, store, Settings(placement=placement, **settings)), planned


def together(harness: Harness, planned: list[PlannedJob]) -> int:
    """Run until nothing has to be come back to; how often that took."""
    rounds = 0
    while planned:
        names = {job.name for batch in batches(planned) for job in run_batch(harness, batch)}
        planned = [item for item in planned if item.job.name in names]
        rounds += 1
        assert rounds < 5
    return rounds


def batches(planned: list[PlannedJob]) -> list[Batch]:
    """As for a GPU of which nothing is known."""
    return packed(planned, CostModel(), "cuda")


@pytest.fixture
def alone(tiny_protocol: Protocol, tiny_results: Path) -> dict[Cell, Record]:
    """Every cell run by itself."""
    return {cell: record for cell, record in _found(tiny_protocol, tiny_results).items() if cell.method in METHODS}


def _found(protocol: Protocol, results: Path) -> dict[Cell, Record]:
    return {Cell(r.method.name, r.cell.level, r.cell.seed, r.cell.draw): r for r in Store(results).records(protocol)}


def test_together_is_what_alone_is(tiny_protocol: Protocol, tmp_path: Path, alone: dict[Cell, Record]) -> None:
    """Controls join as soon as the chain has made the masks they take; every record says who kept it company."""
    harness, jobs = harness_of(tiny_protocol, tmp_path, Placement("cpu", "stacked"))
    assert together(harness, jobs) == 1
    found = _found(harness.protocol, harness.store.root)
    assert found.keys() == alone.keys()
    for cell, record in found.items():
        one, other = record.measured, alone[cell].measured
        assert one is not None
        assert other is not None
        assert one.last("train_loss") == pytest.approx(other.last("train_loss"), rel=2e-2)
        if (
            cell.method in ("dense", "snip") or cell.level == 1
        ):  # later masks follow from weights that differ in the last bit
            assert record.mask == alone[cell].mask
        assert str(record.provenance.replica_group).endswith("side by side, stacked")
        assert record.provenance.device.startswith("cpu: ")
    assert found[Cell("dense", 0, 0)].provenance.replica_group == "2 side by side, stacked"
    assert "replica_group" not in alone[Cell("dense", 0, 0)].dumps()
    text = found[Cell("dense", 0, 0)].dumps()
    assert parse_record(text, "again").dumps() == text


def test_jobs_that_another_process_holds_are_come_back_to(tiny_protocol: Protocol, tmp_path: Path) -> None:
    harness, jobs = harness_of(tiny_protocol, tmp_path, Placement("cpu", "streams"))
    with harness.store.lock(tiny_protocol, jobs[0].job.name, wait=False):
        left = run_batch(harness, batches([item for item in jobs if item.job.method == "dense"])[0])
    assert left == [jobs[0].job]
    assert len(_found(harness.protocol, harness.store.root)) == 1


def test_a_pruner_that_fails_fails_its_chain_alone(tiny_protocol: Protocol, tmp_path: Path) -> None:
    plugin = tmp_path / "magnitude.py"
    plugin.write_text(
        "from benchmark.api import Pruner\n\nclass Magnitude(Pruner):\n    def score(self, network, examples, rng):\n"
        "        return {}\n"
    )
    harness, jobs = harness_of(
        tiny_protocol, tmp_path / "r", Placement("cpu", "streams"), plugins={"magnitude": plugin}
    )
    together(harness, [item for item in jobs if item.job.method in ("dense", "imp", "snip")])
    found = _found(harness.protocol, harness.store.root)
    failed = {cell for cell, record in found.items() if record.status == "failed"}
    assert failed == {cell for cell in found if cell.method == "imp"}
    assert "no scores for" in str(found[Cell("imp", 1, 0)].reason)
    assert "level 1 failed" in str(found[Cell("imp", 2, 0)].reason)


def test_what_was_prepared_when_time_ends_is_recorded(tiny_protocol: Protocol, tmp_path: Path) -> None:
    asked: list[float] = []

    def once(seconds: float) -> bool:
        asked.append(seconds)
        return len(asked) <= 2  # a cell asks before and after its masks are made

    harness, jobs = harness_of(tiny_protocol, tmp_path, Placement("cpu", "streams"), may_start=once)
    with pytest.raises(OutOfTime):
        run_batch(harness, batches(jobs)[0])
    assert len(_found(harness.protocol, harness.store.root)) == 1
    assert torch.get_num_threads() >= 1
