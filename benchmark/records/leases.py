"""Leases: who works on what, by files alone, on a local disk as on NFS. No torch.

The holders of a name are numbered, each a file `<name>.<number>`, made by an exclusive create, which NFS answers at
its server. The file with the highest number counts; it is never removed while others may look. A holder changes its
first line every few seconds and says there when it has let go. To take over from a dead holder is to create
the next number: only one can, and whoever was only slow sees that file and stops.

No clock of another machine is read. A holder is dead if its process is gone from this machine, or if its heartbeat has
not changed while the observer looked at it again and again for `patience` seconds of its own monotonic clock. A
longer gap between two looks counts as one interval only: an observer that slept has seen nothing.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmark.utils.errors import BadInput
from benchmark.utils.hardware import host, machine, started, surely_gone

HELD, RELEASED = "held", "released"
LINE = 32  # bytes of the first line; it is rewritten in one call, at the same length
VARIABLE = "LOTTERYBENCH_LEASE_SECONDS"


@dataclass(frozen=True)
class Timing:
    """Seconds. A holder beats every `interval`; one that was seen still for `patience` is dead."""

    interval: float = 5.0
    patience: float = 60.0

    @staticmethod
    def chosen() -> Timing:
        """The default, or what the environment says. Raises BadInput."""
        text = os.environ.get(VARIABLE)
        if text is None:
            return Timing()
        try:
            patience = float(text)
        except ValueError:
            patience = 0.0
        if not 1 <= patience <= 86400:
            raise BadInput(f"{VARIABLE}={text}", "is no number of seconds from 1 to 86400", "Unset it, or write 60")
        return Timing(patience / 12, patience)


@dataclass(frozen=True)
class Holder:
    """Who holds a name, as its file says: what `status` shows."""

    name: str
    number: int
    first_line: str
    facts: dict[str, Any]

    @property
    def released(self) -> bool:
        """Whether it has let go."""
        return self.first_line.startswith(RELEASED)

    @property
    def gone(self) -> bool:
        """Whether it is known to be dead: a process of this machine that is not there any more."""
        here = machine()
        if here is None or self.facts.get("machine") != here:
            return False
        return surely_gone(int(self.facts["pid"]), str(self.facts["started"]))


class Lease:
    """A held name. It beats in a thread of its own until `release`."""

    def __init__(self, path: Path, following: Path, interval: float) -> None:
        self._path, self._following, self._interval = path, following, interval
        self._beats, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease {path.name}", daemon=True)
        self._thread.start()

    def still_mine(self) -> bool:
        """False if others took this process for dead, after it had been stopped for long, and one went on."""
        return not self._following.exists()

    def release(self) -> None:
        """Let go. A heartbeat that hangs on a slow disk is waited for, so that it cannot undo this."""
        self._over.set()
        self._thread.join()
        for pause in (0.0, 0.1, 1.0):  # no later beat mends it: others would wait until they take this for dead
            time.sleep(pause)
            if self._write(RELEASED):
                return

    def _beat(self) -> None:
        while not self._over.wait(self._interval):
            self._beats += 1
            self._write(f"{HELD} {self._beats}")  # if a disk is full or absent, the next beat tries again

    def _write(self, words: str) -> bool:
        try:
            descriptor = os.open(self._path, os.O_WRONLY)
            try:
                os.pwrite(descriptor, _line(words), 0)
            finally:
                os.close(descriptor)
        except OSError:
            return False
        return True


def _line(words: str) -> bytes:
    return words.ljust(LINE - 1).encode() + b"\n"


@dataclass
class _Sight:
    """What was last seen of a name, when the look ended, and for how long it has not changed."""

    content: bytes
    ended: float
    still: float = 0.0


class Leases:
    """All leases in one folder, as one process sees them. `clock`: monotonic seconds."""

    def __init__(self, folder: Path, timing: Timing | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder, self.timing, self._clock = folder, timing or Timing.chosen(), clock
        self._latest: dict[str, int] = {}
        self._seen: dict[Path, _Sight] = {}

    def take(self, name: str) -> Lease | None:
        """Hold `name`; None if somebody else does, or is not known to be dead yet. Raises OSError."""
        number = self._newest(name)
        if number and not self._free(name, number):
            return None
        path, following = self._path(name, number + 1), self._path(name, number + 2)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return None
        try:
            os.write(descriptor, _line(f"{HELD} 0") + json.dumps(_facts()).encode() + b"\n")
        except OSError:  # a full disk: an empty file would block the name until others have lost patience
            if not following.exists():
                path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        return Lease(path, following, self.timing.interval)

    def holders(self) -> list[Holder]:
        """Who holds what now, by name; those that are known to be dead are left out."""
        newest: dict[str, int] = {}
        for path in self.folder.glob("*.*"):
            name, _, number = path.name.rpartition(".")
            if number.isdecimal():
                newest[name] = max(newest.get(name, 0), int(number))
        found = [self._read(name, number) for name, number in sorted(newest.items())]
        return [holder for holder in found if holder is not None and not holder.released and not holder.gone]

    def _path(self, name: str, number: int) -> Path:
        return self.folder / f"{name}.{number}"

    def _newest(self, name: str) -> int:
        number = self._latest.get(name, 0)
        while self._path(name, number + 1).exists():
            number += 1
        self._latest[name] = number
        return number

    def _free(self, name: str, number: int) -> bool:
        path, begun = self._path(name, number), self._clock()
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # somebody emptied the folder
            self._latest.pop(name, None)
            return False
        holder = _parsed(name, number, content)
        if holder is not None and (holder.released or holder.gone):
            self._seen.pop(path, None)
            return True
        before, now = self._seen.get(path), self._clock()
        if before is None or before.content != content:
            self._seen[path] = _Sight(content, now)
            return False
        before.still += min(max(begun - before.ended, 0.0), self.timing.interval)
        before.ended = now
        return before.still >= self.timing.patience

    def _read(self, name: str, number: int) -> Holder | None:
        try:
            return _parsed(name, number, self._path(name, number).read_bytes())
        except OSError:
            return None


def _parsed(name: str, number: int, content: bytes) -> Holder | None:
    """None if its maker died, or is, between creating the file and filling it."""
    try:
        facts = json.loads(content[LINE:])
        return Holder(name, number, content[:LINE].decode().strip(), _sound(facts))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):  # whatever JSON may hold
        return None


def _sound(facts: Any) -> dict[str, Any]:
    """The same, with what `Holder` asks for. Raises one of the errors that `_parsed` expects."""
    pid = int(facts["pid"])
    if not 0 < pid < 2**31:
        raise ValueError(f"{pid} is no process id")
    return {**facts, "pid": pid, "started": str(facts.get("started"))}


@cache
def _own_start(pid: int) -> str | None:
    """When this process was started: a forked one has another id."""
    return started(pid)


def _facts() -> dict[str, Any]:
    """Who this process is. `log`: where its words go, if it was told."""
    pid = os.getpid()
    return {
        "token": uuid4().hex,
        "host": host(),
        "machine": machine(),
        "pid": pid,
        "started": _own_start(pid),
        "log": os.environ.get("LOTTERYBENCH_LOG"),
    }
