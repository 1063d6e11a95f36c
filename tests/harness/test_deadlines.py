"""When time is up nothing more is begun: no mask for a training that cannot follow, no look at what is left."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from benchmark.harness.executors import worker
from benchmark.harness.executors.worker import Budget, Events, Options, work
from benchmark.harness.harness import Harness, Settings
from benchmark.planning.plan import Job, plan
from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell
from benchmark.records.store import Store
from benchmark.utils.errors import OutOfTime


def never(*_: object) -> NoReturn:
    raise AssertionError("begun although time is up")


def test_no_mask_is_made_for_a_training_that_may_not_start(
    tiny_protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = Harness(tiny_protocol, Store(tmp_path), Settings(may_start=lambda _seconds: False))
    monkeypatch.setattr(harness.masks, "make", never)
    level = tiny_protocol.measured_levels("snip")[0]
    with pytest.raises(OutOfTime):
        harness.run(Job(tiny_protocol, (Cell("snip", level, 0),)))


def test_after_the_deadline_no_job_is_looked_at(
    tiny_protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Harness, "run_jobs", never)
    store = Store(tmp_path)
    jobs = plan([(tiny_protocol, "dense"), (tiny_protocol, "snip")], store)
    assert jobs
    work(jobs, store, Options(deadline=time.monotonic() - 1), Events(progress=never, recorded=never))


def test_a_budget_in_which_one_cell_fits_measures_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 30 s, 18 were spent on starting. The first cell, a mask that is learned in 20 s and a network that is trained
    in another 20 s, is measured all the same; nothing follows that does not end in time.
    """
    now = 118.0
    monkeypatch.setattr(worker.time, "monotonic", lambda: now)
    budget = Budget(deadline=130.0, seconds=30.0)
    assert not budget.fits(31.0), "the plan did not say that this fits"
    assert budget.fits(20.0)
    now = 138.0
    assert budget.fits(20.0)
    assert not budget.over, "another job may be the one that fits"
    now = 165.0
    assert budget.fits(20.0), "of the cell that was begun"
    assert not budget.over
    now = 120.0
    budget.end_promise()
    assert not budget.over
    assert not budget.fits(11.0)
    now = 130.0
    assert budget.over
    assert not budget.fits(0.1)


def test_no_data_is_read_for_what_never_fits(
    tiny_protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job of which each cell takes longer than the whole budget is not looked at; the others are."""
    store, seen = Store(tmp_path), list[str]()
    monkeypatch.setattr(Harness, "run_jobs", lambda _self, jobs, *_: seen.extend(job.method for job in jobs) or [])
    dense, snip = (plan([(tiny_protocol, name)], store)[0] for name in ("dense", "snip"))
    cells = len(snip.job.cells)
    planned = [replace(dense, seconds=31.0), replace(snip, seconds=29.0 * cells)]
    work(planned, store, Options(deadline=time.monotonic() + 30, seconds=30.0), Events(progress=never, recorded=never))
    assert seen == ["snip"]


def test_after_the_first_record_trainings_end_before_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.time, "monotonic", lambda: 118.0)
    budget = Budget(deadline=130.0, seconds=30.0)
    budget.end_promise()
    assert budget.fits(12.0)
    assert not budget.fits(12.1)
    assert not Budget(deadline=130.0).fits(12.1), "no plan was made that says what fits"
    assert Budget(None).fits(1e9)


def test_a_worker_that_starts_after_the_deadline_measures_one_cell(tiny_protocol: Protocol, tmp_path: Path) -> None:
    store, recorded = Store(tmp_path), []
    jobs = plan([(tiny_protocol, "dense"), (tiny_protocol, "snip")], store)
    events = Events(lambda *_: None, lambda *what: recorded.append(what))
    work(jobs, store, Options(deadline=time.monotonic() - 1, seconds=1000.0), events)
    assert len(recorded) == 1
