"""Faults that Python loads at its start, in `run` and in every worker that it starts; see test_adversity.py.

INJECTED_CLOCK=SECONDS     the wall clock jumps by up to so much, forwards or back, every time it is read
INJECTED_DELAY=SECONDS     every file operation below INJECTED_FOLDER takes up to so much longer, before and after
INJECTED_MACHINE=NAME      this process seems to run on another machine: whether others live is not looked up
"""

from __future__ import annotations

import builtins
import io
import os
import random
import time
from typing import Any

CHANCE = random.Random(os.getpid())


def _jumping(real: Any, unit: int, most: float) -> Any:
    def now() -> Any:
        return real() + type(real())(unit * CHANCE.uniform(-most, most))

    return now


def _slow(real: Any, most: float, folder: str) -> Any:
    def call(first: Any, *rest: Any, **named: Any) -> Any:
        below = not isinstance(first, int) and os.fspath(first).startswith(folder)
        if below or isinstance(first, int):
            time.sleep(CHANCE.uniform(0, most))
        try:
            return real(first, *rest, **named)
        finally:
            if below:
                time.sleep(CHANCE.uniform(0, most))

    return call


if most := float(os.environ.get("INJECTED_CLOCK", "0")):
    time.time, time.time_ns = _jumping(time.time, 1, most), _jumping(time.time_ns, 10**9, most)
if delay := float(os.environ.get("INJECTED_DELAY", "0")):
    slowed = os.environ["INJECTED_FOLDER"]
    builtins.open = io.open = _slow(io.open, delay, slowed)  # type: ignore[assignment]
    for name in ("open", "stat", "rename", "replace", "link", "unlink", "mkdir", "scandir", "listdir"):
        setattr(os, name, _slow(getattr(os, name), delay, slowed))
    for name in ("fsync", "pwrite"):
        setattr(os, name, _slow(getattr(os, name), delay, slowed))
if place := os.environ.get("INJECTED_MACHINE"):
    from benchmark.utils import hardware as machine

    machine.machine = lambda: place  # type: ignore[assignment]
