"""Whether the sections of a protocol fit each other. No torch.

What an analysis protocol may say: one that measures masks and trains nothing. No torch.

From pydantic's errors to one sentence that names file, field, cause and fix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from benchmark.protocols.data import SAMPLE
from benchmark.protocols.evaluation import NO_EVALUATION
from benchmark.protocols.methods import ControlSpec, MethodSpec
from benchmark.protocols.network import NETWORK_NAMES
from benchmark.protocols.recipe import NO_TRAINING
from benchmark.utils.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    from benchmark.protocols.protocol import Protocol


def contradictions(protocol: Protocol) -> Iterator[tuple[str, str]]:
    """(field, what is wrong) for fields that do not go with what the protocol measures."""
    needed = {"recipe": protocol.recipe != NO_TRAINING, "evaluation": protocol.evaluation != NO_EVALUATION}
    for name, given in needed.items():
        if protocol.trains and not given:
            yield name, "the field is missing; only a protocol with measures: masks trains nothing"
        if not protocol.trains and given:
            yield name, "a protocol with measures: masks trains nothing; leave it out"
    if protocol.trains and protocol.data.name == SAMPLE:
        yield "data.name", f"'{SAMPLE}' has no test set, so only a protocol with measures: masks can use it"
    for name, spec in protocol.all_methods.items():
        if isinstance(spec, MethodSpec) and not protocol.trains:
            if (spec.schedule.scores, spec.schedule.restart) != ("initial", 0):
                yield f"methods.{name}", "measures: masks trains nothing: scores: initial and restart: 0"
        elif not protocol.trains:
            yield f"methods.{name}", "a control is another training; measures: masks has none"
        if isinstance(spec, MethodSpec) and spec.schedule.scored != "for-each-level" and protocol.trains:
            yield f"methods.{name}", "scored: once-for-all-levels needs measures: masks"


def check_levels(protocol: Protocol, name: str) -> None:
    """Every level of a method is one of the protocol's, and stands there once. Raises ValueError."""
    wanted, last = protocol.measured_levels(name), len(protocol.level_table) - 1
    if wrong := [level for level in wanted if not 1 <= level <= last]:
        raise ValueError(f"methods.{name}: level {wrong[0]} is outside 1..{last}")
    if len(set(wanted)) != len(wanted):
        raise ValueError(f"methods.{name}: a level stands twice")


def check_batch_norm(protocol: Protocol) -> None:
    """What is said of batch norm fits the network. Raises ValueError."""
    has = protocol.network.has_batch_norm
    if has == (protocol.pruning.scoring.batch_norm == "network-has-none"):
        raise ValueError(f"pruning.scoring.batch_norm: the network {'has' if has else 'has no'} batch norm")
    if has != (protocol.pruning.rewound == "weights-biases-and-batch-norm"):
        raise ValueError(f"pruning.rewound: the network {'has' if has else 'has no'} batch norm to rewind")


def check_schedule(protocol: Protocol, name: str, spec: MethodSpec) -> None:
    """A method can be trained and cut as its schedule says. Raises ValueError."""
    restart = spec.schedule.restart
    if protocol.trains and isinstance(restart, int) and restart >= protocol.recipe.steps:
        raise ValueError(f"methods.{name}: restart {restart} is not before the last of {protocol.recipe.steps} steps")
    if spec.allocation == "layerwise" and spec.schedule.rounds != "levels":
        for level in protocol.measured_levels(name):
            if protocol.level_table[level].one_shot_counts is None:
                raise ValueError(f"methods.{name}: level {level} cannot be reached in one round with layer_rates")


def check_control(protocol: Protocol, name: str, spec: ControlSpec) -> None:
    """A control has a parent whose masks it can take. Raises ValueError."""
    parent = protocol.methods.get(spec.of)
    if not isinstance(parent, MethodSpec):
        raise ValueError(f"methods.{name}: of: '{spec.of}' is not a pruning method of this protocol")
    if name != f"{spec.of}+{'reinit' if spec.control == 'reinitialise' else spec.control}":
        raise ValueError(f"methods.{name}: a control is named <method>+reinit or <method>+shuffle")
    if missing := set(spec.levels) - set(protocol.measured_levels(spec.of)):
        raise ValueError(f"methods.{name}: level {min(missing)} is not measured by {spec.of}")
    if spec.control == "reinitialise" and (parent.schedule.restart, parent.schedule.weights) != (0, "rewound"):
        raise ValueError(f"methods.{name}: new weights start at step 0, but {spec.of} restarts elsewhere")


def explained(error: ValidationError, document: dict[str, Any], name: str) -> BadInput:
    """The first error that concerns what was meant, about the document read from `name`."""
    first = next((e for e in error.errors() if _meant(e, document)), error.errors()[0])
    place = [str(part) for part in first["loc"] if not _BRANCH.fullmatch(str(part))]
    if place == ["network"] and first["type"] == "union_tag_invalid":  # the wrong field is the discriminator
        given = str(first["ctx"]["tag"])
        return BadInput(f"{name}: network.name", f"there is no '{given}'", did_you_mean(given, list(NETWORK_NAMES)))
    return BadInput(f"{name}: {'.'.join(place) or 'protocol'}", _cause(first), _fix(first["type"], first.get("input")))


# What pydantic puts into an error's place to say which alternative of a union it tried.
_BRANCH = re.compile(
    r"MethodSpec|ControlSpec|bool|int|float|str|.*\[.*\]|rate-per-round|linear-sparsity-to-1|listed|"
    + "|".join(map(re.escape, NETWORK_NAMES)),
    re.DOTALL,
)


def _meant(error: Any, document: dict[str, Any]) -> bool:
    """Whether an error is of the alternative that was meant: `of` makes a control, only text can be a keyword."""
    place = error["loc"]
    if place[:1] == ("methods",) and place[2:3] in (("MethodSpec",), ("ControlSpec",)):
        given = document["methods"][place[1]]
        control = isinstance(given, dict) and "of" in given
        if (place[2] == "ControlSpec") != control:
            return False
    return error["type"] != "literal_error" or isinstance(error["input"], str)


def _cause(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    return f"{message} (given: {given!r})" if isinstance(given, str | int | float) else message


def _fix(kind: str, given: Any) -> str:
    if kind == "extra_forbidden":
        return "Remove the field or correct its spelling"
    if kind == "missing":
        return "Add the field"
    if isinstance(given, str):
        try:
            float(given)
        except ValueError:
            return "Give a value of the named type"
        return f"The value is quoted text; write the number without quotes: {given}"
    return "Give a value of the named type and range"
