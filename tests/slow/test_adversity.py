"""`run` as a process where things go wrong: killed workers, a full disk, a clock that jumps, a slow file system.

Whatever happens, what was finished stays, nothing half-written is read, no cell is measured by two at once, and in the
end the records are, to the bit, those of a run that nobody disturbed.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_protocol import written

from benchmark.harness.executors.worker import Events, Options, work
from benchmark.planning.plan import plan
from benchmark.protocols import load_file
from benchmark.protocols.cells import Cell
from benchmark.records.store import Store

ROOT = Path(__file__).parents[2]
METHODS = ("dense", "imp", "random")
FORK = multiprocessing.get_context("fork")
DAY = 86400.0


def prints(path: Path, root: Path) -> dict[str, str]:
    """Cell -> fingerprint of everything on disk; reading checks every file."""
    return {f"{r.method.name} {r.cell}": r.fingerprint() for r in Store(root).records(load_file(path))}


def measured(path: Path, root: Path, methods: tuple[str, ...], log: Path | None = None) -> None:
    """Be a worker; with `log`, each look at a training and each record is a line: cell, process."""

    def say(cell: Cell, word: str) -> None:
        if log is not None:
            with log.open("a") as file:
                file.write(f"{cell.method}/{cell.name} {os.getpid()} {word}\n")

    events = Events(lambda _p, cell, *_: say(cell, "trains"), lambda _p, cell, _r: say(cell, "recorded"))
    protocol, store = load_file(path), Store(root)
    work(plan([(protocol, name) for name in methods], store), store, Options(), events)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_path: Path) -> dict[str, str]:
    """Cell -> fingerprint of one run in one go."""
    root = tmp_path_factory.mktemp("undisturbed")
    measured(tiny_path, root, METHODS)
    return prints(tiny_path, root)


class Run:
    """`lotterybench run` in a process group of its own."""

    def __init__(self, path: Path, root: Path, methods: tuple[str, ...] = METHODS, **environment: str) -> None:
        command = [sys.executable, "-m", "benchmark.cli", "run", *(f"{path}:{name}" for name in methods)]
        places = [str(ROOT / "tests/support/injected"), str(ROOT), os.environ.get("PYTHONPATH", "")]
        self.process = subprocess.Popen(
            [*command, "--results", str(root), "--workers", "2", "--budget", "10m"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places), **environment},
        )  # fmt: skip

    def workers(self) -> list[int]:
        """Process ids of its workers."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                mine = parent == self.process.pid and b"worker" in (entry / "cmdline").read_bytes()
            except OSError:
                continue
            found += [int(entry.name)] if mine else []
        return found

    def ended(self) -> tuple[int, str]:
        """Exit code and everything it said."""
        said, _ = self.process.communicate(timeout=300)
        return self.process.returncode, said


def recorded(said: str) -> Counter[str]:
    """How often `run` said of each cell that it was recorded."""
    return Counter(re.findall(r"^\[.*?\] \d+/\d+ (.*?): ", said, re.MULTILINE))


def many(folder: Path) -> Path:
    """The tiny protocol with 16 seeds, of a tenth of a second each."""
    return written(
        folder, 16, {"steps: 20": "steps: 300", "every: 2\n": "every: 20\n", "test_every: 10": "test_every: 100"}
    )


@pytest.mark.long
def test_a_storm_of_kills_on_workers_side_by_side(tmp_path: Path) -> None:
    """Three workers on one folder, each killed again and again and replaced at once."""
    path, log, root = many(tmp_path), tmp_path / "log", tmp_path / "results"
    measured(path, tmp_path / "calm", ("dense",))
    chance, kills, done = random.Random(3), 0, 0
    workers = [FORK.Process(target=measured, args=(path, root, ("dense",), log)) for _ in range(3)]
    for worker in workers:
        worker.start()
    while any(worker.exitcode is None for worker in workers):
        time.sleep(chance.uniform(0.05, 0.3))
        number = chance.randrange(3)
        if workers[number].exitcode is None and kills < 8:
            workers[number].kill()
            workers[number].join()
            kills += 1
            workers[number] = FORK.Process(target=measured, args=(path, root, ("dense",), log))
            workers[number].start()
        now = len(list(root.glob("tests/*/*/*.json")))
        assert now >= done, "a finished record disappeared"
        done = now
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert kills >= 4, "the run was too fast to be disturbed: the test tested nothing"
    assert prints(path, root) == prints(path, tmp_path / "calm")
    never_two_at_once(log)


def never_two_at_once(log: Path) -> None:
    """Lines of one process about a cell never stand among those of another; one alone recorded it."""
    seen: defaultdict[str, list[str]] = defaultdict(list)
    written: Counter[str] = Counter()
    for line in log.read_text().splitlines():
        cell, process, word = line.split()
        if not seen[cell] or seen[cell][-1] != process:
            assert process not in seen[cell], f"{cell} was trained by two at once"
            seen[cell].append(process)
        written[cell] += word == "recorded"
    assert set(written.values()) == {1}


@pytest.mark.long
def test_killed_workers_and_a_killed_run(tmp_path: Path) -> None:
    """A worker killed: the other goes on and `run` says so. `run` killed: its workers end, nothing is left behind."""
    path, root = many(tmp_path), tmp_path / "r"
    first = Run(path, root, ("dense",))
    while len(list(root.glob("tests/*/*/*.json"))) < 2:
        time.sleep(0.02)
        assert first.process.poll() is None
    os.kill(first.workers()[0], signal.SIGKILL)
    code, said = first.ended()
    assert code == 3
    assert "was killed by signal 9" in said
    assert "run the same command again" in said
    whole = prints(path, root)
    assert len(whole) == 16, "the other did not do all of it"
    for record in list(root.glob("tests/*/*/*.json"))[::2]:  # something to do again
        record.unlink()
    second = Run(path, root, ("dense",))
    while not (workers := second.workers()):
        time.sleep(0.02)
    second.process.kill()
    second.process.wait()
    end = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < end, "a worker outlived its run"
        time.sleep(0.1)
    code, said = Run(path, root, ("dense",)).ended()
    assert code == 0, said
    assert prints(path, root) == whole


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with room for a few records."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=130k", "none", str(place)]
    if os.getuid() or not shutil.which("mount") or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("A FULL DISK IS NOT TESTED HERE: needs root and the right to mount")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.long
def test_a_full_disk(small_disk: Path, tiny_path: Path, undisturbed: dict[str, str]) -> None:
    """One error that names the cause; with room again, the same command goes on with what is left."""
    code, said = Run(tiny_path, small_disk / "r").ended()
    assert code == 3, said
    assert "No space left on device" in said
    assert "Free space or give another --results folder" in said
    assert "Traceback" not in said
    kept = prints(tiny_path, small_disk / "r")
    assert 0 < len(kept) < len(undisturbed), "filled too late or too early: the test tested nothing"
    assert kept.items() <= undisturbed.items()
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    code, said = Run(tiny_path, small_disk / "r").ended()
    assert code == 0, said
    assert prints(tiny_path, small_disk / "r") == undisturbed
    assert kept.keys().isdisjoint(recorded(said)), "a finished cell was measured again"
    assert not list((small_disk / "r/.work/unfinished").glob("*"))


@pytest.mark.long
def test_a_clock_that_jumps(tmp_path: Path, tiny_path: Path, undisturbed: dict[str, str]) -> None:
    """By a day to either side, every time it is read: the budget of ten minutes holds, leases hold."""
    code, said = Run(tiny_path, tmp_path, INJECTED_CLOCK=str(DAY), LOTTERYBENCH_LEASE_SECONDS="2").ended()
    assert code == 0, said
    assert prints(tiny_path, tmp_path) == undisturbed
    assert len(recorded(said)) == len(undisturbed)
    assert set(recorded(said).values()) == {1}


@pytest.mark.long
def test_a_slow_file_system_under_two_machines(tmp_path: Path, tiny_path: Path, undisturbed: dict[str, str]) -> None:
    """Every file operation takes up to 40 ms more, so that everything between two of them happens. Two machines share
    the folder; one dies; the other waits until its leases have expired, and no longer than for the living."""
    slow = {"INJECTED_DELAY": "0.02", "INJECTED_FOLDER": str(tmp_path), "LOTTERYBENCH_LEASE_SECONDS": "6"}
    dying = Run(tiny_path, tmp_path / "r", INJECTED_MACHINE="one", **slow)
    living = Run(tiny_path, tmp_path / "r", INJECTED_MACHINE="two", **slow)
    while len(list((tmp_path / "r").glob("tests/*/*/*.json"))) < 2:
        time.sleep(0.02)
        assert living.process.poll() is None
    for pid in [*dying.workers(), dying.process.pid]:
        os.kill(pid, signal.SIGKILL)
    before = recorded(dying.ended()[1])
    code, said = living.ended()
    assert code == 0, said
    assert prints(tiny_path, tmp_path / "r") == undisturbed
    both = before + recorded(said)
    assert set(both.values()) == {1}
    assert len(both) >= len(undisturbed) - 2, "a record that nobody told of, but those two that died"
