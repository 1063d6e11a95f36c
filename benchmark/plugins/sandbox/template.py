"""The template process: torch and the benchmark imported, one thread, nothing of the harness's. Forks guards.

It is an interpreter of its own, not a fork of the harness, so no data set, result or secret is in its memory, its
environment or its open files. It never runs a plugin's code.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
from dataclasses import asdict

from pydantic import TypeAdapter

from benchmark.plugins.sandbox.guard import guard
from benchmark.plugins.sandbox.limits import Limits
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
    """Start a guard with the two channels that come along: data, then leash."""

    limits: dict[str, float | int]
    readable: tuple[str, ...]


REQUEST: TypeAdapter[Request] = TypeAdapter(Request)


def request(limits: Limits, readable: tuple[str, ...]) -> bytes:
    """A Request as `main` reads it."""
    return Request(limits=asdict(limits), readable=readable).model_dump_json().encode()


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
            if os.fork() == 0:
                try:
                    channel.close()
                    asked = REQUEST.validate_json(text)
                    guard(data, leash, Limits(**asked.limits), asked.readable)  # type: ignore[arg-type]
                finally:
                    os._exit(1)
            data.close()
            leash.close()
