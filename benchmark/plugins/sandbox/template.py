"""The template process: torch and the benchmark imported, one thread, nothing of the harness's. Forks guards.

It is an interpreter of its own, not a fork of the harness, so no data set, result or secret is in its memory, its
environment or its open files. It never runs a plugin's code. `Template` is the harness's end, of which each process
has one; `main` is what runs in the template process. What this module imports, both sides import.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import asdict

from pydantic import TypeAdapter

from benchmark.plugins.sandbox.confinement import Limits, environment, import_paths
from benchmark.plugins.sandbox.guard import guard
from benchmark.training.kernels.engine import missing
from benchmark.utils.errors import EnvironmentProblem
from benchmark.utils.strict_model import Frozen

# Importing torch takes seconds: a harness that is killed meanwhile must not leave that work running. Afterwards the
# end of the channel ends the template; the signal would come when the thread ends that started it.
START = """
import ctypes, json, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() != int(sys.argv[3]):
    sys.exit()
sys.path[:] = json.loads(sys.argv[2])
from benchmark.plugins.sandbox.template import main
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
main(int(sys.argv[1]))
"""
REQUEST_BYTES = 64 * 1024
READY = b"ready"


class Request(Frozen):
    """Start a guard with the two channels that come along: data, then leash. `kernels`: with portable arithmetic."""

    limits: dict[str, float | int]
    readable: tuple[str, ...]
    kernels: bool


REQUEST: TypeAdapter[Request] = TypeAdapter(Request)


def request(limits: Limits, readable: tuple[str, ...], kernels: bool) -> bytes:
    """A Request as `main` reads it."""
    return Request(limits=asdict(limits), readable=readable, kernels=kernels).model_dump_json().encode()


def main(control: int) -> None:
    """Fork a guard for every request on the socket with this number, until its other end closes."""
    os.chdir("/")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the harness's business
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # guards report to the harness; nobody waits for them here
    gc.collect()
    gc.freeze()  # forks share these pages for longer
    with socket.socket(fileno=control) as channel:
        channel.sendall(READY)
        while True:
            text, numbers, _, _ = socket.recv_fds(channel, REQUEST_BYTES, 2)
            if not text:
                return
            data, leash = (socket.socket(fileno=number) for number in numbers)
            asked = REQUEST.validate_json(text)
            if asked.kernels:
                missing()  # compiles them, or reads them from a cache that no plugin process can
            if os.fork() == 0:
                try:
                    channel.close()
                    guard(data, leash, Limits(**asked.limits), asked.readable)  # type: ignore[arg-type]
                finally:
                    os._exit(1)
            data.close()
            leash.close()


class Template:
    """The template process of this process; started at once, waited for when it is first needed."""

    def __init__(self) -> None:
        self.owner, self._ready, self._lock = os.getpid(), False, threading.Lock()
        self._channel, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", START, str(other.fileno()), json.dumps(import_paths()), str(os.getpid())],
                pass_fds=[other.fileno()],
                env=environment(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd="/",
            )

    @property
    def alive(self) -> bool:
        """Whether it can be asked, by this process."""
        return self.owner == os.getpid() and self._process.poll() is None

    def start(
        self, limits: Limits, readable: tuple[str, ...], kernels: bool = False
    ) -> tuple[socket.socket, socket.socket]:
        """(data, leash) of a new plugin process. Raises EnvironmentProblem if there can be none."""
        data, data_end = socket.socketpair()
        leash, leash_end = socket.socketpair()
        with self._lock, data_end, leash_end:
            self._wait_until_ready()
            socket.send_fds(
                self._channel, [request(limits, readable, kernels)], [data_end.fileno(), leash_end.fileno()]
            )
        return data, leash

    def _wait_until_ready(self) -> None:
        if not self._ready:
            if self._channel.recv(len(READY)) != READY:
                _, text = self._process.communicate()
                last = (text.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
                raise EnvironmentProblem("the process that starts pruners", f"did not start ({last})", "Reinstall")
            self._ready = True

    def close(self) -> None:
        """End it; plugin processes that still run are killed by their guards when their leashes close."""
        self._channel.close()
        if self.owner == os.getpid():
            self._process.kill()
            self._process.wait()
            if self._process.stderr is not None:
                self._process.stderr.close()


_template: Template | None = None


def template() -> Template:
    """This process's template, started if there is none yet."""
    global _template  # noqa: PLW0603 - one per process, as starting it takes seconds
    if _template is None or not _template.alive:
        if _template is not None:
            _template.close()
        _template = Template()
    return _template


@atexit.register
def _close_template() -> None:
    if _template is not None:
        _template.close()
