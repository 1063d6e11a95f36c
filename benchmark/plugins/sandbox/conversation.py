"""The harness's end of the channel to a plugin process: asked one thing at a time, believed in nothing.

Whatever arrives, from the first byte, is taken for what a hostile plugin wrote: it may speak in its process's place
from the moment that it is loaded. Lengths, fields and their ranges are checked before anything is made of them, and
every way to fail ends as a BadPruner with a reason.
"""

from __future__ import annotations

import select
import signal
import socket
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from benchmark.plugins.registry import PluginSource
from benchmark.plugins.sandbox.confinement import Limits
from benchmark.plugins.sandbox.guard import End
from benchmark.plugins.sandbox.template import template
from benchmark.plugins.sandbox.wire import (
    NO_ANSWER,
    NO_REPLY,
    BrokenAnswer,
    Confined,
    Load,
    Loaded,
    Refusal,
    Reply,
    Word,
    read_reply,
    receive,
    send,
    unpack,
)
from benchmark.utils.errors import BadPruner
from benchmark.utils.strict_model import Frozen

GRACE_SECONDS = 0.5  # for a process whose channel has closed to be seen to end
END_SECONDS = 10.0  # for the guard to say how a plugin process ended
Wanted = TypeVar("Wanted", bound=Reply)


class Conversation:
    """A plugin in a process of its own, loaded. Use it as a context manager.

    Every method raises BadPruner for whatever the plugin does: raising, crashing, hanging, filling memory, talking
    nonsense. Its process is killed at the latest when the conversation ends. `kind`: the word for such a plugin.
    `kernels`: it will train in portable arithmetic.
    """

    def __init__(
        self,
        plugin: PluginSource,
        parameters: Mapping[str, Any],
        limits: Limits,
        kind: Word = "pruner",
        kernels: bool = False,
    ) -> None:
        self.plugin, self.limits, self._word = plugin, limits, kind
        self.longest = 0  # bytes that an answer may have beyond its header
        self._data, self._leash = template().start(
            limits, plugin.readable, kernels
        )  # its import of torch is not the plugin's
        self._within(limits.start_seconds)
        self.protections = self._heard(Confined)[0].protections
        load = Load(kind=kind, pruner=plugin.name, file=str(plugin.file), entry_point=plugin.entry_point,
                    parameters=dict(parameters))  # fmt: skip
        self._guarded_send(load, plugin.source)
        self.loaded = self._heard(Loaded)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the plugin process, which is then killed."""
        self._data.close()
        self._leash.close()

    def _within(self, seconds: float) -> None:
        """All that is asked from here on has to be answered in so many seconds."""
        self._allowed, self._deadline = seconds, time.monotonic() + seconds

    def _ask(self, header: Frozen, payload: bytes, wanted: type[Wanted]) -> tuple[Wanted, bytes]:
        """Send, and read the reply, which must be of a kind. A refusal becomes the BadPruner it stands for."""
        self._guarded_send(header, payload)
        return self._heard(wanted)

    def _heard(self, wanted: type[Wanted]) -> tuple[Wanted, bytes]:
        try:
            text, answer = receive(self._data, self.longest, self._deadline)
            reply = read_reply(text)
        except TimeoutError as error:
            raise self.ended(f"took longer than {self._allowed:g} s") from error
        except BrokenAnswer as error:
            raise self.ended(str(error)) from error
        if isinstance(reply, Refusal):
            raise self.ended(_printable(reply.cause), _printable(reply.fix))
        if not isinstance(reply, wanted):
            raise self.ended(NO_REPLY)
        return reply, answer

    def _tensors(self, payload: bytes) -> dict[str, Any]:
        """What a payload holds, by name."""
        try:
            return dict(unpack(payload))
        except BrokenAnswer as error:
            raise self.ended(str(error)) from error

    def _guarded_send(self, header: Frozen, payload: bytes) -> None:
        self._data.settimeout(max(1e-3, self._deadline - time.monotonic()))
        try:
            send(self._data, header, payload)
        except TimeoutError as error:
            raise self.ended(f"took longer than {self._allowed:g} s") from error
        except OSError:
            return  # it has ended; if it left a last word, that is read next

    def ended(self, cause: str, fix: str = "Correct the plugin, then run again with --retry-failed") -> BadPruner:
        """Stop the plugin process and say why it failed, with how it ended where that says more."""
        end = self._end(GRACE_SECONDS if cause == NO_ANSWER else 0.0)
        if end is not None:
            if end.printed_too_much:
                cause, fix = f"printed more than {self.limits.output_bytes} bytes", "Print less"
            elif cause == NO_ANSWER:
                cause = _how(end)
            if end.tail:
                cause += f". It printed: {end.tail!r}"
        elif cause == NO_ANSWER:
            cause = "lost its guard, or never got one (is there memory left?)"
        return BadPruner(f"{self._word} '{self.plugin.name}'", cause, fix)

    def _end(self, grace: float) -> End | None:
        """How it ended; stops it, if it has not ended by itself within `grace` seconds."""
        try:
            if not select.select([self._leash], [], [], grace)[0]:
                self._leash.shutdown(socket.SHUT_WR)
            self._leash.settimeout(END_SECONDS)
            parts = []
            while part := self._leash.recv(1 << 16):
                parts.append(part)
            return End.model_validate_json(b"".join(parts))
        except (OSError, ValueError):
            return None
        finally:
            self.close()


def _how(end: End) -> str:
    if end.stopped and end.code == -signal.SIGKILL:
        return "closed its channel to the harness without an answer"
    if end.code == -signal.SIGSYS:
        return "made a system call that ends a plugin (killed by SIGSYS)"
    if end.code >= 0:
        return f"ended its process without an answer (exit code {end.code})"
    try:
        return f"was killed by {signal.Signals(-end.code).name}"
    except ValueError:
        return f"was killed by signal {-end.code}"


def _printable(text: str) -> str:
    """One line without control characters: this text goes into records and onto terminals."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
