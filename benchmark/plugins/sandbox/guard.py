"""The guard of one plugin process: starts it, swallows what it prints, stops it, and says how it ended.

It runs no code of the plugin's and reads nothing of it but its output. The harness holds the other end of its leash:
when that closes, for whatever reason, the plugin and all that it started are killed.
"""

from __future__ import annotations

import fcntl
import os
import resource
import selectors
import signal
import socket
import traceback
from collections.abc import Sequence
from contextlib import suppress

from benchmark.plugins.sandbox.confinement import Limits, adopt_orphans, die_with_parent, enter_namespaces
from benchmark.plugins.sandbox.plugin_process import serve
from benchmark.utils.strict_model import Frozen

LOOK_SECONDS = 0.05  # between two looks at whether the plugin process has ended
DATA, NOTHING, FAILED = 3, "/dev/null", 70


class End(Frozen):
    """How a plugin process ended. `code`: its exit code, negative for a signal; `stopped`: the harness had let go
    before; `tail`: the last it printed."""

    code: int
    stopped: bool
    printed_too_much: bool
    tail: str
    cpu_seconds: float


def guard(data: socket.socket, leash: socket.socket, limits: Limits, readable: Sequence[str]) -> None:
    """Run a plugin process on `data` and report its End on `leash`. Does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    namespaces = enter_namespaces()
    die_with_parent()  # after it: entering clears what was asked for
    adopt_orphans()
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _become_plugin(data, into)
            serve(socket.socket(fileno=DATA), limits, namespaces, readable)
            os._exit(0)
        except BaseException:  # the last words are shown in the reason
            traceback.print_exc()
        finally:
            os._exit(FAILED)
    data.close()
    os.close(into)
    end = _watch(child, out, leash, limits)
    with suppress(OSError):
        leash.sendall(end.model_dump_json().encode())
    os._exit(0)


def _become_plugin(data: socket.socket, output: int) -> None:
    """Own session, nothing on stdin, the guard's pipe as stdout and stderr, the channel, and no other open file."""
    die_with_parent()
    os.setsid()
    nothing = os.open(NOTHING, os.O_RDONLY)
    kept = [fcntl.fcntl(number, fcntl.F_DUPFD, 16) for number in (nothing, output, output, data.detach())]
    for target, source in enumerate(kept):  # moved up first, so that none is overwritten before its turn
        os.dup2(source, target)
    os.closerange(len(kept), os.sysconf("SC_OPEN_MAX"))


def _watch(child: int, out: int, leash: socket.socket, limits: Limits) -> End:
    tail, printed, stopping, status = b"", 0, False, None
    with selectors.DefaultSelector() as selector:
        selector.register(out, selectors.EVENT_READ)
        selector.register(leash, selectors.EVENT_READ)
        while status is None:
            for key, _ in selector.select(LOOK_SECONDS):
                if key.fd == out:
                    part = os.read(out, 1 << 16)
                    printed += len(part)
                    tail = (tail + part)[-4 * limits.tail_characters :]
                    if not part:
                        selector.unregister(out)
                else:  # the harness says nothing on the leash: it has let go
                    selector.unregister(leash)
                    stopping = True
            if stopping or printed > limits.output_bytes:
                _kill(child)
            pid, code = os.waitpid(child, os.WNOHANG)
            status = os.waitstatus_to_exitcode(code) if pid else None
    tail = (tail + _rest(out))[-4 * limits.tail_characters :]
    _kill_orphans(child)
    text = "".join(c if c.isprintable() else " " for c in tail.decode(errors="replace"))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return End(
        code=status,
        stopped=stopping,
        printed_too_much=printed > limits.output_bytes,
        tail=" ".join(text.split())[-limits.tail_characters :],
        cpu_seconds=used.ru_utime + used.ru_stime,
    )


def _rest(out: int) -> bytes:
    """What is still in the pipe of a process that has ended."""
    os.set_blocking(out, False)
    try:
        return os.read(out, 1 << 16)
    except OSError:
        return b""


def _kill(child: int) -> None:
    """The process and its group. As the first of its process namespace it takes everything in it along."""
    _kill_group(child)
    with suppress(OSError):
        os.kill(child, signal.SIGKILL)


def _kill_orphans(child: int) -> None:
    """Where there is no process namespace: the group, and whatever was left to this process when its parent ended."""
    _kill_group(child)
    with suppress(OSError):
        while True:
            for orphan in _children():
                with suppress(OSError):
                    os.kill(orphan, signal.SIGKILL)
            os.waitpid(-1, 0)  # ends with an error when there is no child left


def _kill_group(child: int) -> None:
    with suppress(OSError):
        os.killpg(child, signal.SIGKILL)


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []
