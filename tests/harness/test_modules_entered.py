"""How many modules one needs to have read to follow the training of a cell, counted with a profiler."""

from __future__ import annotations

import inspect
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType

import pytest

import benchmark
from benchmark.harness.harness import Harness, Settings
from benchmark.planning.plan import Job, jobs
from benchmark.protocols import Protocol, load
from benchmark.records.store import Store

PACKAGE = Path(benchmark.__file__).parent
OURS = (str(PACKAGE), str(PACKAGE.parent / "baselines"))


def first_ticket(protocol: Protocol, folder: Path) -> tuple[Harness, Job]:
    """The first level of iterative magnitude pruning, behind a dense network that is there."""
    store = Store(folder)
    Harness(protocol, store, Settings()).run(jobs(protocol, ["dense"], store)[0])
    chain = jobs(protocol, ["imp"], store)[0]
    return Harness(protocol, store, Settings()), replace(chain, cells=chain.cells[:1])


def entered(harness: Harness, job: Job) -> set[str]:
    """The files whose functions were called; what is run by importing a module, its classes' bodies too, is not."""
    found: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_flags & inspect.CO_OPTIMIZED and code.co_filename.startswith(OURS):
            found.add(code.co_filename)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        assert harness.run(job)
    finally:
        sys.setprofile(before)
    return found


@pytest.mark.long
def test_a_cell_of_mnist1d_enters_at_most_45_modules(tmp_path: Path) -> None:
    """Of MNIST-1D, once a process has trained one: it has read the data, compiled the kernels and knows its machine."""
    protocol = load("mnist1d/mlp")
    harness, job = first_ticket(protocol, tmp_path / "first")
    assert harness.run(job)
    found = entered(*first_ticket(protocol, tmp_path / "second"))
    names = sorted(str(Path(file).relative_to(PACKAGE.parent)) for file in found)
    assert {"baselines/magnitude.py", "benchmark/training/loop.py", "benchmark/records/store.py"} <= set(names)
    assert len(names) <= 45, names
