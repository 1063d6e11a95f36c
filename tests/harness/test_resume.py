"""Interrupted, continued, failed and interleaved runs of the tiny protocol end in the records of an undisturbed one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from made_once import made_once, run_all

from benchmark.harness.harness import Harness, Settings
from benchmark.planning.plan import Job, jobs
from benchmark.protocols import Protocol, parse
from benchmark.protocols.cells import DENSE, Cell
from benchmark.records.schema import Record
from benchmark.records.store import Store
from benchmark.training.device import configure_cpu
from benchmark.utils.errors import OutOfTime

METHODS = [DENSE, "imp", "imp+reinit", "one-shot", "random", "synflow", "imp-rewind", "fine-tune"]


class Stop(Exception):
    """What interrupts a run here."""


@pytest.fixture(autouse=True)
def _as_workers_run() -> None:
    """Subnormals are flushed, as in every worker."""
    configure_cpu()


def run(protocol: Protocol, root: Path, methods: list[str] | None = None, **settings: Any) -> None:
    """Run whatever is not recorded yet."""
    store = Store(root)
    harness = Harness(protocol, store, Settings(data_root=root, **settings))
    for job in jobs(protocol, methods or METHODS, store):
        assert harness.run(job)


def prints(protocol: Protocol, root: Path) -> dict[str, str]:
    """Cell -> fingerprint of all that is recorded."""
    return {f"{r.method.name} {r.cell}": r.fingerprint() for r in Store(root).records(protocol)}


@pytest.fixture(scope="module")
def small(tiny_protocol: Protocol) -> Protocol:
    """The tiny protocol with one seed."""
    return edited(tiny_protocol, seeds=[1])


def edited(protocol: Protocol, **fields: Any) -> Protocol:
    """A protocol with some top-level fields replaced."""
    return parse({**protocol.model_dump(mode="json", by_alias=True), **fields}, "edited")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, small: Protocol) -> Path:
    """Everything run in one go."""
    return made_once(tmp_path_factory, "resumed", lambda root: run_all(small, root, METHODS))


def test_interrupted_after_every_single_cell(tmp_path: Path, small: Protocol, whole: Path) -> None:
    """An exception right after each record; every new start loses nothing and makes one more."""

    def stop(_cell: Cell, _record: Record) -> None:
        raise Stop

    expected = prints(small, whole)
    for done in range(1, len(expected) + 1):
        with pytest.raises(Stop):
            run(small, tmp_path, on_record=stop)
        assert len(prints(small, tmp_path)) == done
    run(small, tmp_path, on_record=stop)  # nothing is left
    assert prints(small, tmp_path) == expected


def test_interrupted_in_the_midst_of_every_training(tmp_path: Path, small: Protocol, whole: Path) -> None:
    """An exception at the second evaluation of each training in turn."""
    expected = prints(small, whole)
    broken: set[Cell] = set()

    def stop_once(cell: Cell, done: int, total: int, _latest: object) -> None:
        if cell not in broken and done > total // 2:
            broken.add(cell)
            raise Stop

    for _ in range(len(expected)):
        with pytest.raises(Stop):
            run(small, tmp_path, on_progress=stop_once)
    run(small, tmp_path, on_progress=stop_once)
    assert len(broken) == len(expected)
    assert prints(small, tmp_path) == expected


def test_a_chain_goes_on_without_scratch_files(tmp_path: Path, small: Protocol, whole: Path) -> None:
    """A clone has records and masks but no weights between rounds: one level back is trained again, not all."""
    expected = prints(small, whole)
    shutil.copytree(whole, tmp_path / "clone")
    store = Store(tmp_path / "clone")
    shutil.rmtree(store.work)
    for cell in (Cell("imp", 3, 1), Cell("imp", 4, 1), Cell("imp-rewind", 2, 1), Cell("fine-tune", 2, 1)):
        store.record_path(small, cell).unlink()
    trained: list[tuple[str, int]] = []

    def note(cell: Cell, done: int, total: int, _latest: object) -> None:
        if done == total:
            trained.append((cell.method, cell.level))

    run(small, tmp_path / "clone", on_progress=note)
    assert prints(small, tmp_path / "clone") == expected
    assert ("imp", 1) not in trained
    assert trained.count(("imp", 3)) == trained.count(("imp", 4)) == 1


def test_a_control_alone_makes_what_it_needs(tmp_path: Path, small: Protocol, whole: Path) -> None:
    """`imp+reinit` from nothing trains dense and the chain, and comes out the same."""
    run(small, tmp_path, ["imp+reinit"])
    found, expected = prints(small, tmp_path), prints(small, whole)
    assert sum(name.startswith("imp+reinit") for name in found) == 4
    assert {name: expected[name] for name in found} == found


def test_two_harnesses_turn_by_turn(tmp_path: Path, small: Protocol, whole: Path) -> None:
    """Two folders, jobs interleaved in one process, one of them in reverse order: neither disturbs the other."""
    roots = [tmp_path / "a", tmp_path / "b"]
    harnesses = [Harness(small, Store(root), Settings(data_root=root)) for root in roots]
    plans = [jobs(small, METHODS, Store(root)) for root in roots]
    plans[1] = plans[1][::-1]
    for one, other in zip(*plans, strict=True):
        assert harnesses[0].run(one)
        assert harnesses[1].run(other)
    expected = prints(small, whole)
    assert prints(small, roots[0]) == expected
    assert prints(small, roots[1]) == expected


def test_a_seeds_results_do_not_depend_on_the_other_seeds(tmp_path: Path, tiny_protocol: Protocol, whole: Path) -> None:
    """Both seeds in one folder; digests aside, seed 1 is what it was alone."""

    def results(root: Path, protocol: Protocol) -> dict[str, Any]:
        own = [r for r in Store(root).records(protocol) if r.cell.seed == 1]
        return {f"{r.method.name} {r.cell}": (r.mask, r.measured, r.curves_sha256) for r in own}

    run(tiny_protocol, tmp_path)
    assert results(tmp_path, tiny_protocol) == results(whole, edited(tiny_protocol, seeds=[1]))


def test_a_job_that_is_held_elsewhere_is_left_alone(tmp_path: Path, small: Protocol) -> None:
    store = Store(tmp_path)
    job = Job(small, (Cell(DENSE, 0, 1),))
    harness = Harness(small, Store(tmp_path), Settings(data_root=tmp_path))
    with store.lock(small, job.name, wait=False):
        assert not harness.run(job)
    assert store.records(small) == []
    assert harness.run(job)


def test_a_budget_that_is_spent_starts_no_training(tmp_path: Path, small: Protocol) -> None:
    with pytest.raises(OutOfTime):
        run(small, tmp_path, may_start=lambda _seconds: False)
    assert Store(tmp_path).records(small) == []


BROKEN = """
from benchmark.api import Pruner

class Broken(Pruner):
    needs = "nothing"

    def score(self, network, examples, rng):
        return {name: w * float("nan") for name, w in network.weights.items()}
"""


def test_a_broken_pruner_gives_failed_records_and_the_rest_goes_on(
    tmp_path: Path, small: Protocol, whole: Path
) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text(BROKEN)
    run(small, tmp_path / "r", plugins={"synflow": plugin})
    records = {f"{r.method.name} {r.cell}": r for r in Store(tmp_path / "r").records(small)}
    failed = {name: r for name, r in records.items() if r.status == "failed"}
    assert {r.method.name for r in failed.values()} == {"synflow"}
    for record in failed.values():
        assert record.reason is not None
        assert "NaN" in record.reason
        assert (record.mask, record.measured, record.cost, record.curves_sha256) == (None, None, None, None)
    expected = prints(small, whole)
    assert {name: r.fingerprint() for name, r in records.items() if name not in failed} == {
        name: value for name, value in expected.items() if not name.startswith("synflow")
    }


def test_a_diverged_network_is_a_failed_record_and_so_is_what_needs_it(tmp_path: Path, small: Protocol) -> None:
    """A learning rate at which everything overflows: each cell says so, no job ends in another error."""
    recipe = {**small.model_dump(mode="json")["recipe"], "optimizer": "sgd", "learning_rate": 1e30}
    wild = edited(small, recipe=recipe)
    run(wild, tmp_path)
    records = Store(tmp_path).records(wild)
    assert {record.status for record in records} == {"failed"}
    dense = next(record for record in records if record.method.name == DENSE)
    assert dense.reason is not None
    assert dense.reason.startswith("diverged")
    assert all(record.reason and record.measured is None for record in records)
