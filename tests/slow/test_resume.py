"""Killed at random, run again: nothing finished is lost, nothing half-written is read, the same bits come out."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmark.harness.executors.worker import Events, Options, work
from benchmark.planning.plan import plan
from benchmark.protocols import Protocol, load_file
from benchmark.protocols.cells import method_names
from benchmark.records.schema import Record
from benchmark.records.store import Store

pytestmark = pytest.mark.long  # within one process: tests/harness/test_resume.py

# Forked children share the loaded libraries, so that a kill costs milliseconds and many fit into a test.
FORK = multiprocessing.get_context("fork")


def run_everything(path: Path, root: Path, log: Path | None = None) -> None:
    """One worker process: all jobs of the protocol; appends the name of every record it writes to `log`."""
    protocol, store = load_file(path), Store(root)

    def recorded(_protocol: Protocol, cell: object, _record: Record) -> None:
        if log is not None:
            with log.open("a") as file:
                file.write(f"{cell}\n")

    events = Events(progress=lambda *_: None, recorded=recorded)
    work(plan([(protocol, method) for method in method_names(protocol)], store), store, Options(), events)


def fingerprints(protocol: Protocol, root: Path) -> dict[str, str]:
    """Cell -> fingerprint of everything on disk; reading checks every file."""
    return {f"{r.method.name} {r.cell}": r.fingerprint() for r in Store(root).records(protocol)}


def contents(root: Path, suffix: str) -> dict[str, bytes]:
    """Files of one kind under a results folder, byte for byte."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.glob(f"tests/**/*{suffix}")}


@dataclass(frozen=True)
class OneGo:
    """A results folder made without interruption, and the seconds that took."""

    root: Path
    seconds: float


@pytest.fixture(scope="module")
def one_go(tmp_path_factory: pytest.TempPathFactory, tiny_path: Path) -> OneGo:
    root, started = tmp_path_factory.mktemp("uninterrupted"), time.monotonic()
    run_everything(tiny_path, root)
    return OneGo(root, time.monotonic() - started)


@pytest.fixture(scope="module")
def uninterrupted(one_go: OneGo) -> Path:
    return one_go.root


def test_killed_again_and_again_gives_the_same_bits(
    tmp_path: Path, tiny_path: Path, tiny_protocol: Protocol, one_go: OneGo
) -> None:
    """SIGKILL at random points; afterwards records, curves and masks equal those of one uninterrupted run."""
    uninterrupted, moments, kills, before = one_go.root, random.Random(7), 0, 0
    longest = one_go.seconds / 4
    while True:
        process = FORK.Process(target=run_everything, args=(tiny_path, tmp_path))
        process.start()
        process.join(moments.uniform(0.05, longest))
        if process.exitcode is not None:
            assert process.exitcode == 0
            break
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        kills += 1
        done = len(fingerprints(tiny_protocol, tmp_path))
        assert done >= before, "a finished record disappeared"
        if done == before:  # every start imports torch, in seconds that depend on what else the machine does
            longest *= 1.2
        before = done
        assert kills < 500, "no progress between kills"
    assert kills >= 3, "the run was too fast to be interrupted: the test tested nothing"
    assert fingerprints(tiny_protocol, tmp_path) == fingerprints(tiny_protocol, uninterrupted)
    assert contents(tmp_path, ".curves.npz") == contents(uninterrupted, ".curves.npz")


def test_nothing_unfinished_lies_among_the_results(tmp_path: Path, tiny_path: Path) -> None:
    """Whatever a kill leaves half-written lies in .work, where no reader looks."""
    for delay in (0.1, 0.2, 0.3, 0.4):
        process = FORK.Process(target=run_everything, args=(tiny_path, tmp_path))
        process.start()
        time.sleep(delay)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        for path in tmp_path.glob("tests/**/*"):
            assert path.is_dir() or path.suffixes[-1] in {".json", ".npz"}, path


def test_processes_side_by_side_never_run_a_cell_twice(
    tmp_path: Path, tiny_path: Path, tiny_protocol: Protocol, uninterrupted: Path
) -> None:
    """Three workers on one folder: every cell is recorded by exactly one of them, with the same bits."""
    log, root = tmp_path / "log", tmp_path / "results"
    workers = [FORK.Process(target=run_everything, args=(tiny_path, root, log)) for _ in range(3)]
    for process in workers:
        process.start()
    for process in workers:
        process.join()
        assert process.exitcode == 0
    assert fingerprints(tiny_protocol, root) == fingerprints(tiny_protocol, uninterrupted)
    written = Counter(log.read_text().splitlines())
    assert len(written) == len(fingerprints(tiny_protocol, root))
    assert set(written.values()) == {1}


def test_a_fresh_clone_continues_a_chain(tmp_path: Path, tiny_path: Path, uninterrupted: Path) -> None:
    """With committed records and masks but no scratch weights, missing levels come out with the same bits."""
    protocol = load_file(tiny_path)
    store = Store(tmp_path)
    for path in (uninterrupted / protocol.key).glob("*/*"):
        copy = tmp_path / protocol.key / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    for lost in ("imp/level-03_seed-0", "imp/level-04_seed-0", "one-shot/level-01_seed-1", "fine-tune/level-02_seed-0"):
        (tmp_path / protocol.key / f"{lost}.json").unlink()
    assert not store.work.exists()
    run_everything(tiny_path, tmp_path)
    assert fingerprints(protocol, tmp_path) == fingerprints(protocol, uninterrupted)
