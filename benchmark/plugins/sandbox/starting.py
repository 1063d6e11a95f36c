"""Starting plugin processes: the harness's hold on its template process, of which it has one."""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import threading

from benchmark.plugins.sandbox.environment import environment
from benchmark.plugins.sandbox.limits import Limits
from benchmark.plugins.sandbox.sandbox import import_paths
from benchmark.plugins.sandbox.template import READY, START, request
from benchmark.utils.errors import EnvironmentProblem


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

    def start(self, limits: Limits, readable: tuple[str, ...]) -> tuple[socket.socket, socket.socket]:
        """(data, leash) of a new plugin process. Raises EnvironmentProblem if there can be none."""
        data, data_end = socket.socketpair()
        leash, leash_end = socket.socketpair()
        with self._lock, data_end, leash_end:
            self._wait_until_ready()
            socket.send_fds(self._channel, [request(limits, readable)], [data_end.fileno(), leash_end.fileno()])
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
