"""The harness's end: a plugin process per mask, asked in rounds, believed in nothing."""

from __future__ import annotations

import select
import signal
import socket
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from torch import Generator, Tensor

from benchmark.datasets.dataset import Examples
from benchmark.plugins.registry import PluginSource
from benchmark.plugins.sandbox.confinement import Limits, Protections
from benchmark.plugins.sandbox.guard import End
from benchmark.plugins.sandbox.template import template
from benchmark.plugins.sandbox.wire import (
    NO_ANSWER,
    SLACK_BYTES,
    Answer,
    Begin,
    BrokenAnswer,
    Load,
    Loaded,
    Refusal,
    Round,
    mask_bits,
    pack,
    read_reply,
    receive,
    send,
    unpack,
)
from benchmark.protocols.methods import Needs
from benchmark.protocols.network import NetworkSpec
from benchmark.pruning.interface import Cost, Masks, Scores
from benchmark.pruning.scorer import Kind, ScoredNetwork
from benchmark.utils.errors import BadPruner
from benchmark.utils.strict_model import Frozen

GRACE_SECONDS = 0.5  # for a process whose channel has closed to be seen to end
END_SECONDS = 10.0  # for the guard to say how a plugin process ended


class Session:
    """A plugin in a process of its own, loaded; then, after `begin`, a `Scorer`. Use it as a context manager.

    Every method raises BadPruner for whatever the plugin does: raising, crashing, hanging, filling memory, talking
    nonsense. Its process is killed at the latest when the session ends.
    """

    def __init__(self, pruner: PluginSource, parameters: Mapping[str, Any], limits: Limits) -> None:
        self._pruner, self._limits = pruner.name, limits
        self.cost, self._longest = Cost(), 0  # bytes that an answer may have beyond its header
        self._prunable: tuple[str, ...] = ()
        self._allowed = limits.start_seconds
        self._data, self._leash = template().start(limits, pruner.readable)  # its import of torch is not the plugin's
        self._deadline = time.monotonic() + limits.start_seconds
        load = Load(
            pruner=pruner.name, file=str(pruner.file), entry_point=pruner.entry_point, parameters=dict(parameters)
        )
        reply, _ = self._ask(load, pruner.source)
        if not isinstance(reply, Loaded):
            raise self._ended("answered before it was asked")
        self.kind: Kind = reply.kind
        self.needs: Needs = reply.needs
        self.protections = Protections(**reply.protections)

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

    def begin(
        self,
        network: NetworkSpec,
        prunable: tuple[str, ...],
        subject: ScoredNetwork,
        examples: Examples | None,
        rng: Generator,
    ) -> None:
        """Send what is to be pruned: `network` with the subject's values, `examples`, and the generator's state."""
        tensors: dict[str, Tensor] = {f"state.{name}": tensor for name, tensor in subject.state.items()}
        tensors |= {f"initial.{name}": tensor for name, tensor in (subject.initial or {}).items()}
        if examples is not None:
            tensors |= {"inputs": examples.inputs, "labels": examples.labels}
        tensors["generator"] = rng.get_state()
        self._prunable = prunable
        self._allowed, self._deadline = self._limits.seconds, time.monotonic() + self._limits.seconds
        self._longest = SLACK_BYTES + sum(8 * subject.state[name].numel() for name in prunable)  # float64 at most
        begin = Begin(
            network=network.model_dump_json(by_alias=True),
            train_mode=subject.module.training,
            input_shape=subject.input_shape,
            classes=subject.classes,
            tensors=tuple(subject.state),
            prunable=prunable,
        )
        self._guarded_send(begin, pack(tensors))

    def scores(self, masks: Masks) -> Scores:
        """See `Scorer`."""
        return self._round(Round(density=None), mask_bits(masks, self._prunable))

    def masks(self, masks: Masks, density: float) -> Masks:
        """See `Scorer`."""
        return self._round(Round(density=density), mask_bits(masks, self._prunable))

    def budgets(self, kept: int) -> dict[str, float]:
        """See `Scorer`."""
        numbers = self._round(Round(density=None, budget=kept), b"")
        if any(number.numel() != 1 for number in numbers.values()):
            raise self._ended("sent budgets that are no numbers")
        return {name: float(number) for name, number in numbers.items()}

    def _round(self, asked: Round, about: bytes) -> dict[str, Tensor]:
        reply, payload = self._ask(asked, about)
        if not isinstance(reply, Answer):
            raise self._ended("sent something that is no answer")
        self.cost = Cost(reply.forward_passes, reply.backward_passes, reply.examples_seen)
        try:
            given = unpack(payload)
        except BrokenAnswer as error:
            raise self._ended(str(error)) from error
        known = {name: given[name] for name in self._prunable if name in given}  # in the network's order
        return {**known, **given}

    def _ask(self, header: Frozen, payload: bytes) -> tuple[Loaded | Answer, bytes]:
        """Send, and read the reply. A refusal by the plugin process becomes the BadPruner it stands for."""
        self._guarded_send(header, payload)
        try:
            text, answer = receive(self._data, self._longest, self._deadline)
            reply = read_reply(text)
        except TimeoutError as error:
            raise self._ended(f"took longer than {self._allowed:g} s") from error
        except BrokenAnswer as error:
            raise self._ended(str(error)) from error
        if isinstance(reply, Refusal):
            raise self._ended(_printable(reply.cause), _printable(reply.fix))
        return reply, answer

    def _guarded_send(self, header: Frozen, payload: bytes) -> None:
        self._data.settimeout(max(1e-3, self._deadline - time.monotonic()))
        try:
            send(self._data, header, payload)
        except TimeoutError as error:
            raise self._ended(f"took longer than {self._allowed:g} s") from error
        except OSError:
            return  # it has ended; if it left a last word, that is read next

    def _ended(self, cause: str, fix: str = "Correct the pruner, then run again with --retry-failed") -> BadPruner:
        """Stop the plugin process and say why it failed, with how it ended where that says more."""
        end = self._end(GRACE_SECONDS if cause == NO_ANSWER else 0.0)
        if end is not None:
            if end.printed_too_much:
                cause, fix = f"printed more than {self._limits.output_bytes} bytes", "Print less"
            elif cause == NO_ANSWER:
                cause = _how(end)
            if end.tail:
                cause += f". It printed: {end.tail!r}"
        elif cause == NO_ANSWER:
            cause = "lost its guard, or never got one (is there memory left?)"
        return self._bad(cause, fix)

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

    def _bad(self, cause: str, fix: str) -> BadPruner:
        return BadPruner(f"pruner '{self._pruner}'", cause, fix)


def _how(end: End) -> str:
    if end.stopped and end.code == -signal.SIGKILL:
        return "closed its channel to the harness without an answer"
    if end.code >= 0:
        return f"ended its process without an answer (exit code {end.code})"
    try:
        return f"was killed by {signal.Signals(-end.code).name}"
    except ValueError:
        return f"was killed by signal {-end.code}"


def _printable(text: str) -> str:
    """One line without control characters: this text goes into records and onto terminals."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
