"""`lotterybench` as a process would end, without starting one: its exit code and what it says; plugins asked here.

Starting Python and torch costs seconds of processor time. Tests whose point is a process of its own (signals, workers,
confinement, start-up) start one; the others use these.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from benchmark.cli.main import main
from benchmark.plugins import child, describe
from benchmark.plugins.conformance.__main__ import checked
from benchmark.plugins.examine import facts


@dataclass(frozen=True)
class Ended:
    """How the command ended."""

    returncode: int
    stdout: str
    stderr: str


def in_process(*arguments: str, **environment: str) -> Ended:
    """Run the entry point in this process; what it does to the process as a whole (signals, gc) is left out."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["lotterybench", *arguments]),
        mock.patch.dict(os.environ, environment),
        mock.patch.object(signal, "signal"),
        mock.patch.object(gc, "freeze"),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    assert isinstance(ended.value.code, int)
    return Ended(ended.value.code, out.getvalue(), err.getvalue())


_WORK = {"benchmark.plugins.examine": facts, "benchmark.plugins.conformance": checked}


@contextlib.contextmanager
def asking_here() -> Iterator[None]:
    """What a plugin file says of itself, and the checks made of it, run in this process: for code of the tests' own.

    For tests of the answers; tests/plugins/test_describe.py has those of the confined process that gives them.
    """

    def ask(module: str, path: Path, given: Mapping[str, str], _seconds: float) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(json.dumps(_WORK[module](path, given, lambda _doing: None)))
        return answer

    with mock.patch.object(child, "ask", ask), mock.patch.object(describe, "ask", ask):
        yield


@pytest.fixture
def answered_here() -> Iterator[None]:
    """See `asking_here`."""
    with asking_here():
        yield
