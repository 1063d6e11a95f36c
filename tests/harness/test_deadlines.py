"""When time is up nothing more is begun: no mask for a training that cannot follow, no look at what is left."""

from __future__ import annotations

import time
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


def test_a_budget_in_which_one_training_fits_measures_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 30 s, 18 were spent on starting: the first training of 20 s may begin all the same, a second one may not."""
    monkeypatch.setattr(worker.time, "monotonic", lambda: 118.0)
    budget = Budget(deadline=130.0, seconds=30.0)
    assert not budget.fits(31.0), "the plan did not say that this fits"
    assert budget.fits(20.0)
    assert not budget.fits(20.0)
    assert budget.fits(12.0)
    assert not Budget(deadline=118.0, seconds=30.0).fits(1.0), "time is up"
    assert Budget(None).fits(1e9)
