"""Processes that work for `run`: what they say, how they are stopped, when Slurm's have ended. Stand-ins, no torch."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmark.harness.executors import local, slurm
from benchmark.harness.executors.executor import Message, WorkerFailed
from benchmark.utils.errors import EnvironmentProblem

Start = Callable[[str], None]
WORDS = b'[1]\n7\n{"a": 1}\n{"event": 3}\n\xff\xfe\n{"event": "done", "n": 1}\n'


@pytest.fixture
def workers_are(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Have every worker be this program, which is given its number."""

    def are(program: str) -> None:
        number = iter(range(9))

        def start(_plan: Path, _environment: object) -> subprocess.Popen[str]:
            command = [sys.executable, "-uc", program, str(next(number))]
            return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace")

        monkeypatch.setattr(local, "_start", start)

    return are


def test_lines_that_say_nothing_are_a_librarys_own(workers_are: Start, capfd: pytest.CaptureFixture[str]) -> None:
    """JSON that is no object, objects without an event, bytes that are no text: none of them ends the listening."""
    workers_are(f"import sys; sys.stdout.buffer.write({WORDS!r})")
    heard = list[Message]()
    local.run_workers(Path("plan"), 1, heard.append)
    assert heard == [Message(0, "done", {"n": 1})]
    assert capfd.readouterr().err.splitlines()[:4] == ["[1]", "7", '{"a": 1}', '{"event": 3}']


def test_workers_hear_of_the_end_at_the_same_time(workers_are: Start, tmp_path: Path) -> None:
    """Each of them takes half a second to save. Had the second been told after the first, it would have begun later."""
    workers_are(
        "import pathlib, signal, sys, time\n"
        "def stop(*_):\n"
        f"    pathlib.Path({str(tmp_path)!r}, 'told-' + sys.argv[1]).write_text(str(time.monotonic()))\n"
        "    time.sleep(0.5)\n"
        f"    pathlib.Path({str(tmp_path)!r}, 'saved-' + sys.argv[1]).write_text(str(time.monotonic()))\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        'print(\'{"event": "started"}\')\n'
        "time.sleep(60)\n"
    )
    started = list[Message]()

    def listen(message: Message) -> None:
        started.append(message)
        if len(started) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local.run_workers(Path("plan"), 2, listen)
    at = {path.name: float(path.read_text()) for path in tmp_path.iterdir()}
    assert at.keys() == {"told-0", "told-1", "saved-0", "saved-1"}
    assert max(at["told-0"], at["told-1"]) < min(at["saved-0"], at["saved-1"])


def test_a_worker_that_cannot_start_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    started = list[subprocess.Popen[str]]()

    def start(_plan: Path, _environment: object) -> subprocess.Popen[str]:
        if started:
            raise OSError("no more processes")
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=-1, text=True))
        return started[0]

    monkeypatch.setattr(local, "_start", start)
    with pytest.raises(OSError, match="no more processes"):
        local.run_workers(Path("plan"), 2, lambda _message: None)
    assert started[0].poll() == -signal.SIGTERM


def test_the_first_worker_that_failed_is_told_of_in_its_words(workers_are: Start) -> None:
    workers_are('import sys; print(\'{"event": "error", "text": "no data"}\'); sys.exit(3)')
    with pytest.raises(WorkerFailed, match="worker 0: no data"):
        local.run_workers(Path("plan"), 1, lambda _message: None)


def _squeue(folder: Path, *answers: str) -> None:
    """A `squeue` that gives one answer after another, the last one ever after."""
    for number, answer in enumerate(answers):
        (folder / f"answer-{number}").write_text(answer)
    tool = folder / "squeue"
    tool.write_text(
        f"#!/bin/sh\ncd {folder}\nn=$(cat asked 2>/dev/null || echo 0)\nm=$((n + 1))\n"
        f"[ $m -lt {len(answers)} ] && echo $m > asked\n. ./answer-$n\n"
    )
    tool.chmod(0o755)


def test_a_controller_that_does_not_answer_has_not_said_that_all_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    _squeue(
        tmp_path,
        "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1",
        "echo 7_0 COMPLETED; echo 7_1 SIGNALING",
        "echo 7_0 COMPLETED; echo 7_1 CANCELLED",
    )
    waits: list[float] = []
    # Only the module's own clock: `subprocess` polls a child that has not yet ended by `time.sleep` too.
    monkeypatch.setattr(slurm, "time", SimpleNamespace(monotonic=time.monotonic, sleep=waits.append))
    slurm.wait_for("7")
    assert len(waits) == 2


def test_a_controller_that_stays_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it has not answered for long; an answer in between begins the time anew."""
    clock, answers = [0.0], iter([None, {"7_0": "RUNNING"}, *[None] * 99])

    def later(_seconds: float) -> None:
        clock[0] += slurm.PATIENCE * 0.7

    monkeypatch.setattr(slurm, "states", lambda _jobs: next(answers))
    monkeypatch.setattr(slurm, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=later))
    with pytest.raises(EnvironmentProblem, match=r"job 7: its controller .* for 30 minutes.*status --watch"):
        slurm.wait_for("7")
    assert len(list(answers)) == 99 - 2


def test_a_job_that_slurm_has_forgotten_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    _squeue(tmp_path, "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert slurm.states(["7"]) == {}
    slurm.wait_for("7")


def test_without_slurm_nothing_is_known_of_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm.states(["7"]) == slurm.states([]) == {}
    slurm.wait_for("7")  # what nobody could tell of is not waited for
