"""What harness and plugin process say to each other: JSON headers of known fields, tensors as safetensors, no pickle.

A message is two lengths, a header and a payload. The reader says how long either may be before it reads them, and what
fields the header has; anything else is a BrokenAnswer. Nothing that arrives is ever run.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeVar

import numpy as np
import torch
from pydantic import Field, TypeAdapter, ValidationError
from safetensors.torch import load, save
from torch import Tensor

from benchmark.plugins.sandbox.confinement import Protections
from benchmark.protocols.needs import Needs
from benchmark.utils.strict_model import Frozen

LENGTHS = struct.Struct("!IQ")
HEADER_BYTES = 256 * 1024
NO_ANSWER = "ended without an answer"
NO_REPLY = "sent something that is no answer"
SLACK_BYTES = 64 * 1024  # safetensors' own header
Count = Annotated[int, Field(ge=0, lt=2**53)]
FactName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_. -]{1,80}$")]  # goes into records
Text = Annotated[str, Field(max_length=2000)]
Word = Literal["pruner", "hook", "learner"]


class BrokenAnswer(Exception):
    """What arrived is not a message, or the other side is gone. Its text continues "the plugin ..."."""


class Load(Frozen):
    """Harness: load this plugin.

    Without an entry point, the payload is the source of `file`; with one, `file` is the package it is in.
    """

    kind: Word
    pruner: str
    file: str
    entry_point: str | None
    parameters: dict[str, bool | int | float | str]


class Confined(Frozen):
    """Plugin process: what confines it. Said before it is given the plugin, so that no code of a plugin's can."""

    say: Literal["confined"] = "confined"
    protections: Protections


class Loaded(Frozen):
    """Plugin process: what the plugin declares. From here on it may be the plugin that speaks."""

    say: Literal["loaded"] = "loaded"
    kind: Literal["scores", "masks", "hook", "learner"]
    needs: Needs
    fresh_examples: bool = False


class Begin(Frozen):
    """Harness: the subject. The payload holds `state.<name>`, `initial.<name>`, `inputs`, `labels` and `generator`.

    `network`: a protocol's network fields as JSON; `prunable`: tensor names in tie order; `tensors`: all names in
    the network's order, which safetensors does not keep. `recipe`: of the final training, as JSON, if there is one.
    """

    network: str
    recipe: str | None = None
    task: str = "classification"
    train_mode: bool
    input_shape: tuple[int, ...]
    classes: int
    tensors: tuple[str, ...]
    prunable: tuple[str, ...]


class Round(Frozen):
    """Harness: score, or learn a mask of this density. The payload is `mask_bits`.

    `at`: number, rounds, density and target of a `ScoringRound`. `fresh`: behind the bits the payload holds this
    round's own `inputs` and `labels`.

    `budget`: share out so many weights instead; there is no payload, and the answer's tensors hold a number each.
    """

    density: float | None
    budget: int | None = None
    at: tuple[int, int, float, float] | None = None
    fresh: bool = False


class BeginTraining(Frozen):
    """Harness: the network to be trained, for a hook or learner. Recipe, network and augmentation as JSON.

    The payload holds `start.<name>`, `mask.<name>`, `inputs` and `labels` of the training set as stored, its `rows` and
    those `held_out` for validation, which a learner gets as zeros; and `saved.<name>`, what `Trained` held, where a
    training goes on. `done`: after which update that was; None at the beginning. `target`: names of a group of
    tensors, and the weights it keeps. `parent_facts`: see `Hook`.
    """

    network: str
    recipe: str
    evaluation: str
    task: str
    augmentation: str
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    per_image: bool
    classes: int
    tensors: tuple[str, ...]
    prunable: tuple[str, ...]
    target: tuple[tuple[tuple[str, ...], int], ...]
    parent_facts: dict[str, float]
    seed: int
    first_step: int
    last_step: int
    done: int | None


class Advance(Frozen):
    """Harness: do the updates up to this one, and let the plugin act after those that it asked for."""

    upto: int


class Trained(Frozen):
    """Plugin process: the network after them. `facts`: what the plugin counted.

    The payload holds `module.<name>`, `optimizer.<place>.<name>`, `mask.<name>`, `frozen.<name>` and `hook.<name>`; of
    a learner also `scores.<name>`, `shown.<name>`, the masks to measure it with, and `ranking.<name>`.
    """

    say: Literal["trained"] = "trained"
    facts: Annotated[dict[FactName, float], Field(max_length=64)]


class Answer(Frozen):
    """Plugin process: scores or masks, in the payload, and the passes and examples that were counted so far."""

    say: Literal["answer"] = "answer"
    forward_passes: Count
    backward_passes: Count
    examples_seen: Count
    inner_steps: Count = 0


class Refusal(Frozen):
    """Plugin process: the plugin broke its contract, in the words of a BadPruner."""

    say: Literal["refusal"] = "refusal"
    cause: Text
    fix: Text


Header = TypeVar("Header", bound=Frozen)
Reply = Confined | Loaded | Answer | Trained | Refusal
REPLY: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="say")])


def pack(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors as safetensors."""
    return save({name: tensor.detach().contiguous() for name, tensor in tensors.items()})


def unpack(payload: bytes) -> dict[str, Tensor]:
    """Tensors in memory of their own, aligned as torch aligns. Raises BrokenAnswer."""
    try:
        return {name: tensor.clone() for name, tensor in load(payload).items()}
    except Exception as error:  # the library's own error, and what torch says to a type or shape it does not know
        raise BrokenAnswer(f"sent tensors that cannot be read ({error})") from error


def mask_bits(masks: Mapping[str, Tensor], names: Sequence[str]) -> bytes:
    """Masks in the order of `names`, one bit a weight: small enough for a channel to take at once."""
    return np.packbits(torch.cat([masks[name].flatten() for name in names]).numpy()).tobytes()


def mask_bytes(shapes: Mapping[str, torch.Size]) -> int:
    """How many bytes `mask_bits` takes."""
    return -(-sum(shape.numel() for shape in shapes.values()) // 8)


def read_mask_bits(bits: bytes, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """The masks again; `shapes` in the order in which they were packed."""
    sizes = [shape.numel() for shape in shapes.values()]
    flat = np.unpackbits(np.frombuffer(bits, np.uint8), count=sum(sizes)).view(np.bool_)
    parts = torch.split(torch.from_numpy(flat), sizes)
    return {name: part.reshape(shape).clone() for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def send(channel: socket.socket, header: Frozen, payload: bytes = b"") -> None:
    """Write one message. Raises OSError if the other side is gone, TimeoutError if the channel has a timeout."""
    text = header.model_dump_json().encode()
    channel.sendall(LENGTHS.pack(len(text), len(payload)) + text)
    if payload:
        channel.sendall(payload)


def receive(channel: socket.socket, longest_payload: int, deadline: float | None = None) -> tuple[bytes, bytes]:
    """(header, payload) of one message, read until time.monotonic() is `deadline`.

    Raises BrokenAnswer for too long a message or none, TimeoutError at the deadline.
    """
    header_bytes, payload_bytes = LENGTHS.unpack(_exactly(channel, LENGTHS.size, deadline))
    if header_bytes > HEADER_BYTES or payload_bytes > longest_payload:
        raise BrokenAnswer(f"announced {header_bytes + payload_bytes} bytes, more than its tensors can have")
    return _exactly(channel, header_bytes, deadline), _exactly(channel, payload_bytes, deadline)


def read_reply(header: bytes) -> Reply:
    """The header of a plugin process's message. Raises BrokenAnswer."""
    try:
        return REPLY.validate_json(header)
    except ValidationError as error:
        raise BrokenAnswer(NO_REPLY) from error


def _exactly(channel: socket.socket, count: int, deadline: float | None) -> bytes:
    # One buffer, which takes memory as it fills: of bytes sent by twos, a list would take twenty times their number.
    buffer, filled = np.empty(count, np.uint8), 0
    while filled < count:
        if deadline is not None:
            channel.settimeout(max(1e-3, deadline - time.monotonic()))
        try:
            part = channel.recv_into(buffer[filled : filled + (1 << 20)].data)
        except TimeoutError:
            raise
        except OSError as error:
            raise BrokenAnswer(NO_ANSWER) from error
        if not part:
            raise BrokenAnswer(NO_ANSWER)
        filled += part
    return buffer.tobytes()
