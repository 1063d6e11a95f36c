"""What a training says while it runs: the figures that its record and its curves hold in the end."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from benchmark.cli import terminal
from benchmark.harness.executors import slurm
from benchmark.harness.executors.executor import InProcess, Message, WorkOrder, latest_words, title
from benchmark.harness.executors.profile import load_profile
from benchmark.harness.executors.slurm import ArrayTask, Slurm
from benchmark.harness.harness import Harness, Settings
from benchmark.planning.plan import Job, plan
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell
from benchmark.records.store import Store

DENSE_0 = Cell(DENSE, 0, 0)


def test_what_is_said_is_what_is_recorded(tiny_protocol: Protocol, tmp_path: Path) -> None:
    said: dict[int, Mapping[str, float]] = {}

    def listen(_cell: Cell, done: int, _total: int, latest: Mapping[str, float]) -> None:
        said[done] = latest

    store = Store(tmp_path)
    assert Harness(tiny_protocol, store, Settings(on_progress=listen)).run(Job(tiny_protocol, (DENSE_0,)))
    record = store.read(tiny_protocol, DENSE_0)
    assert record is not None
    assert record.measured is not None
    assert said[max(said)]["test_accuracy"] == record.measured.last("test_accuracy")
    with np.load(store.curves_path(tiny_protocol, DENSE_0)) as curves:
        assert [said[step]["validation_loss"] for step in curves["steps"]] == pytest.approx(curves["validation_loss"])


def test_the_validation_set_comes_first_in_words(tiny_protocol: Protocol) -> None:
    """It is looked at every time, the test set now and then: the words would jump from one to the other."""
    both = {"validation_loss": 0.5, "validation_accuracy": 12.345, "test_accuracy": 11.0}
    assert latest_words(tiny_protocol, both) == "validation accuracy 12.35 %"
    assert latest_words(tiny_protocol, {"test_accuracy": 11.0}) == "test accuracy 11.00 %"
    assert latest_words(tiny_protocol, {}) == "", "a GPU is not made to wait for it"


def test_a_terminal_shows_it_beside_the_cell(
    tiny_protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(terminal.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(terminal, "Console", lambda: Console(file=screen, force_terminal=True, width=160))
    planned = plan([(tiny_protocol, DENSE)], Store(tmp_path))[:1]
    heard: list[Message] = []
    InProcess().execute(WorkOrder(tuple(planned), tmp_path), heard.append)
    with terminal.Display(1, ["dense"], None) as display:
        for message in heard:
            if message.event == "progress":
                display.listen(message)
    last = [message for message in heard if message.event == "progress"][-1].fields["latest"]
    assert last.startswith("validation accuracy")
    assert last in screen.getvalue()


def test_whoever_waits_for_slurm_hears_of_its_records(
    tiny_protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tasks of an array tell nobody here; what they recorded is read from the results folder at the end."""
    profile = tmp_path / "cluster.yaml"
    profile.write_text("schema: lotterybench/slurm/1\npartition: low\ntasks: 1\ntime: 10m\n")

    class Array:
        """Runs what it is given at once, as one task."""

        @staticmethod
        def map_array(_job: ArrayTask, _tasks: range) -> list[SimpleNamespace]:
            InProcess().execute(order, lambda _message: None)
            return [SimpleNamespace(job_id="7_0")]

    planned = plan([(tiny_protocol, DENSE)], Store(tmp_path))[:2]
    order = WorkOrder(tuple(planned), tmp_path)
    folder = tmp_path / ".work" / "slurm" / "one"
    folder.mkdir(parents=True)
    monkeypatch.setattr(Slurm, "_executor", lambda *_: (Array(), folder))
    answers = iter([None, {"7_0": "RUNNING"}, {"7_0": "COMPLETED"}])
    monkeypatch.setattr(slurm, "states", lambda _jobs: next(answers))
    monkeypatch.setattr(slurm, "time", SimpleNamespace(**(vars(time) | {"sleep": lambda _seconds: None})))
    heard: list[Message] = []
    Slurm(load_profile(profile), wait=True).execute(order, heard.append)
    told = [message.fields["name"] for message in heard if message.event == "recorded"]
    assert sorted(told) == sorted(title(tiny_protocol, cell) for item in planned for cell in item.job.cells)
    assert list(answers) == [], "waited until the last task had ended, through an answer that did not come"
    heard.clear()
    Slurm(load_profile(profile)).execute(order, heard.append)
    assert [message.event for message in heard] == ["submitted"], "whoever does not wait does not hear"


def test_notes_of_submissions_that_are_none_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever JSON may hold, a pipe, and a name that moves a cursor: one line each, and no traceback."""
    notes = {"deep": "[" * 50_000, "typed": '{"job": 7, "tasks": [], "logs": "", "submitted": ""}', "\x1b[2J": "{"}
    for name, text in notes.items():
        path = tmp_path / ".work" / "slurm" / name / "submission.json"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    (tmp_path / ".work" / "slurm" / "pipe").mkdir()
    os.mkfifo(tmp_path / ".work" / "slurm" / "pipe" / "submission.json")
    assert slurm.submissions(Store(tmp_path)) == []
    said = capsys.readouterr().err
    assert said.count("is not readable; left out") == 4
    assert "\x1b" not in said
