"""What an analysis protocol may say: one that measures masks and trains nothing. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from benchmark.spec.data import SAMPLE
from benchmark.spec.evaluation import NO_EVALUATION
from benchmark.spec.methods import MethodSpec
from benchmark.spec.recipe import NO_TRAINING

if TYPE_CHECKING:
    from benchmark.protocol import Protocol


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
