"""`lotterybench` as a process would end, without starting one: its exit code and what it says; and plugins asked once.

Starting Python and torch costs seconds of processor time. Tests whose point is a process of its own (signals, workers,
confinement, start-up) start one; the others use these.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from benchmark.cli.main import main
from benchmark.plugins import child, describe


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


_ANSWERS: dict[tuple[str, bytes, tuple[tuple[str, str], ...]], dict[str, Any]] = {}


@pytest.fixture
def asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a plugin file says of itself is asked of a confined process once per code and values in all these tests.

    For tests of what is done with the answer; tests/plugins/test_describe.py has those of the asking.
    """

    def ask(module: str, path: Path, given: Mapping[str, str], seconds: float) -> dict[str, Any]:
        key = (module, path.read_bytes(), tuple(sorted(given.items())))
        if key not in _ANSWERS:
            _ANSWERS[key] = child.ask(module, path, given, seconds)
        return dict(_ANSWERS[key])

    monkeypatch.setattr(describe, "ask", ask)
