"""Leases by files: one holder at a time, the dead are replaced, the slow are not, whatever the clocks say."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from benchmark.protocols import Protocol
from benchmark.records import leases as module
from benchmark.records.leases import VARIABLE, Lease, Leases, Timing
from benchmark.records.store import Store
from benchmark.utils import hardware as machine
from benchmark.utils.errors import BadInput

FORK = multiprocessing.get_context("fork")
QUICK = Timing(interval=1.0, patience=10.0)


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def foreign(folder: Path, name: str, number: int = 1) -> Path:
    """A lease held on another machine: its process cannot be looked up here."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.{number}"
    facts = {"token": "t", "host": "elsewhere", "machine": "another", "pid": 1, "started": "1", "log": None}
    path.write_bytes(module._line("held 0") + json.dumps(facts).encode())
    return path


def beat(path: Path, count: int) -> None:
    with path.open("r+b") as file:
        file.write(module._line(f"held {count}"))


def look_for(leases: Leases, clock: Clock, seconds: float, step: float = 1.0) -> bool:
    """Whether the lease was got within so many seconds of looking."""
    for _ in range(int(seconds / step)):
        clock.now += step
        if (lease := leases.take("job")) is not None:
            lease.release()
            return True
    return False


def test_a_silent_holder_elsewhere_expires_after_its_patience(tmp_path: Path) -> None:
    clock = Clock()
    foreign(tmp_path, "job")
    leases = Leases(tmp_path, QUICK, clock)
    assert not look_for(leases, clock, 10)
    assert look_for(leases, clock, 2)


def test_a_slow_holder_does_not_expire(tmp_path: Path) -> None:
    """It beats at a ninth of the agreed pace, for a hundred times the patience."""
    clock = Clock()
    path = foreign(tmp_path, "job")
    leases = Leases(tmp_path, QUICK, clock)
    for count in range(1, 101):
        beat(path, count)
        assert not look_for(leases, clock, 9)


def test_an_observer_that_slept_has_seen_nothing(tmp_path: Path) -> None:
    """Ten hours between two looks count as one interval: both may have been stopped together."""
    clock = Clock()
    foreign(tmp_path, "job")
    leases = Leases(tmp_path, QUICK, clock)
    assert not look_for(leases, clock, 5)
    clock.now += 36000
    assert leases.take("job") is None
    assert not look_for(leases, clock, 4)
    assert look_for(leases, clock, 3)


@pytest.mark.parametrize("jump", [-1e9, 1e9])
def test_wall_clocks_mean_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    """File times and time.time() jump by thirty years, on either side: no holder dies of it, none lives longer."""
    clock, wall = Clock(), time.time()
    path = foreign(tmp_path, "job")
    monkeypatch.setattr(time, "time", lambda: wall + jump)
    os.utime(path, (wall - jump, wall - jump))
    leases = Leases(tmp_path, QUICK, clock)
    assert not look_for(leases, clock, 10)
    assert look_for(leases, clock, 2)


def test_a_slow_disk_does_not_make_a_holder_look_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every read takes 30 s; what counts is the time between looks, and one interval at most."""
    clock = Clock()
    path = foreign(tmp_path, "job")
    read = Path.read_bytes

    def slow(self: Path) -> bytes:
        content = read(self)
        clock.now += 30
        return content

    monkeypatch.setattr(Path, "read_bytes", slow)
    leases = Leases(tmp_path, QUICK, clock)
    for count in range(20):
        assert not look_for(leases, clock, 3)
        beat(path, count)


@pytest.mark.parametrize("pid", [10**30, -1, 0])
def test_what_is_no_process_is_not_looked_up(tmp_path: Path, pid: int) -> None:
    """A file that anybody may have damaged; -1 and 0 would name every process."""
    path = foreign(tmp_path, "job")
    facts = json.loads(path.read_bytes()[module.LINE :]) | {"pid": pid, "machine": machine.machine()}
    path.write_bytes(module._line("held 0") + json.dumps(facts).encode())
    assert Leases(tmp_path, QUICK, Clock()).take("job") is None


def test_letting_go_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails twice: others have the name at once all the same, not after this process's patience."""
    lease = Leases(tmp_path, QUICK).take("job")
    assert lease is not None
    write, failures = os.pwrite, [errno.EIO, errno.ESTALE]

    def failing(descriptor: int, content: bytes, offset: int) -> int:
        if failures:
            raise OSError(failures.pop(), "the disk")
        return write(descriptor, content, offset)

    monkeypatch.setattr(os, "pwrite", failing)
    lease.release()
    again = Leases(tmp_path, QUICK).take("job")
    assert again is not None
    again.release()


def test_only_one_of_many_takes_over(tmp_path: Path) -> None:
    """Sixteen observers agree that a holder is dead, at once, fifty times over: one has it each time."""
    for number in range(50):
        clock = Clock()
        foreign(tmp_path / str(number), "job")
        observers = [Leases(tmp_path / str(number), QUICK, clock) for _ in range(16)]
        for _ in range(10):
            clock.now += 1
            assert all(observer.take("job") is None for observer in observers)
        clock.now += 1
        start, taken = threading.Barrier(16), list[Lease]()

        def rush(observer: Leases, start: threading.Barrier = start, taken: list[Lease] = taken) -> None:
            start.wait()
            if (lease := observer.take("job")) is not None:
                taken.append(lease)

        threads = [threading.Thread(target=rush, args=(observer,)) for observer in observers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(taken) == 1
        taken[0].release()


def _count(folder: Path, log: Path) -> None:
    leases, held = Leases(folder, QUICK), 0
    while held < 40:
        if (lease := leases.take("job")) is not None:
            held += 1
            with log.open("a") as file:
                file.write(f"{os.getpid()} in\n")
                file.flush()
                time.sleep(0.001)
                file.write(f"{os.getpid()} out\n")
            lease.release()


def test_processes_take_turns(tmp_path: Path) -> None:
    """Between one process's `in` and its `out` stands no other line: never two holders."""
    processes = [FORK.Process(target=_count, args=(tmp_path / "leases", tmp_path / "log")) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 240
    for first, second in zip(lines[::2], lines[1::2], strict=True):
        assert (first.split()[0], first.split()[1], second.split()[1]) == (second.split()[0], "in", "out")


def _hold(folder: Path) -> None:
    Leases(folder, QUICK).take("job")
    time.sleep(600)


def test_a_killed_process_of_this_machine_is_replaced_at_once(tmp_path: Path) -> None:
    """A stopped one is not."""
    leases = Leases(tmp_path, Timing())
    process = FORK.Process(target=_hold, args=(tmp_path,))
    process.start()
    while not leases.holders():
        time.sleep(0.01)
    pid = process.pid or 0
    os.kill(pid, signal.SIGSTOP)
    assert leases.take("job") is None
    os.kill(pid, signal.SIGKILL)
    process.join()
    assert leases.holders() == []
    lease = leases.take("job")
    assert lease is not None
    assert [holder.facts["pid"] for holder in leases.holders()] == [os.getpid()]
    lease.release()
    assert leases.holders() == []


def test_a_holder_that_was_replaced_notices(tmp_path: Path) -> None:
    leases = Leases(tmp_path, QUICK)
    lease = leases.take("job")
    assert lease is not None
    assert lease.still_mine()
    foreign(tmp_path, "job", 2)
    assert not lease.still_mine()
    lease.release()  # which says nothing about the new holder
    assert leases.take("job") is None


def test_it_beats_while_it_is_held(tmp_path: Path) -> None:
    leases = Leases(tmp_path, Timing(interval=0.01, patience=1.0))
    lease = leases.take("job")
    assert lease is not None
    while leases.holders()[0].first_line in ("held 0", "held 1"):
        time.sleep(0.01)
    lease.release()


def test_a_holder_that_died_before_it_said_who_it_is(tmp_path: Path) -> None:
    """The file was made and not filled: it expires as others do."""
    clock = Clock()
    (tmp_path / "job.1").touch()
    leases = Leases(tmp_path, QUICK, clock)
    assert not look_for(leases, clock, 10)
    assert look_for(leases, clock, 2)
    assert leases.holders() == []


def test_a_disk_that_was_full_does_not_block_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is made and cannot be filled: without it the name is free as soon as there is room again."""

    def full(_descriptor: int, _content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    leases = Leases(tmp_path, QUICK)
    with monkeypatch.context() as patched:
        patched.setattr(module.os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            leases.take("job")
    lease = Leases(tmp_path, QUICK).take("job")
    assert lease is not None
    lease.release()


def test_no_record_of_a_holder_that_was_replaced(tmp_path: Path, tiny_protocol: Protocol) -> None:
    """Taken for dead while it trained, the harness writes nothing and says that the job is another's."""
    from benchmark.harness.harness import Harness, Settings
    from benchmark.planning.plan import Job
    from benchmark.protocols.cells import DENSE, Cell

    store, job = Store(tmp_path), Job(tiny_protocol, (Cell(DENSE, 0, 0),))

    def replaced(_cell: Cell, done: int, *_: object) -> None:
        if done == 10:
            foreign(store.leases(tiny_protocol).folder, job.name, 2)

    assert not Harness(tiny_protocol, store, Settings(data_root=tmp_path, on_progress=replaced)).run(job)
    assert store.records(tiny_protocol) == []


@pytest.mark.parametrize("text", ["", "soon", "0", "-5", "nan", "1e9"])
def test_a_patience_that_is_none(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(BadInput, match=VARIABLE):
        Timing.chosen()


def test_a_process_that_cannot_be_looked_at_counts_as_living(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc hides other users' processes, a living one must not lose its lease."""

    def answers(error: type[OSError]) -> None:
        def kill(_pid: int, _signal: int) -> None:
            raise error

        monkeypatch.setattr(machine.os, "kill", kill)

    monkeypatch.setattr(machine, "started", lambda _pid: None)
    answers(PermissionError)
    assert not machine.surely_gone(12345, "1")
    answers(ProcessLookupError)
    assert machine.surely_gone(12345, "1")


def test_an_id_that_was_used_again_is_another_process() -> None:
    since = machine.started(os.getpid())
    assert since is not None
    assert not machine.surely_gone(os.getpid(), since)
    assert machine.surely_gone(os.getpid(), str(int(since) + 1))


FACTS = ('{"pid": 1e999}', '{"pid": ' + "[" * 50_000, "[" * 50_000, '{"pid": "x"}', "[]", "9" * 9999)


@pytest.mark.parametrize("facts", FACTS, ids=range(len(FACTS)))
def test_whatever_stands_in_a_lease_is_no_traceback(facts: str) -> None:
    """As `status` may meet it in somebody else's results folder."""
    assert module._parsed("job", 1, b" " * module.LINE + facts.encode()) is None
