"""What a method of a protocol does, in words. No torch."""

from __future__ import annotations

from benchmark.protocol import ControlSpec, Protocol
from benchmark.records import DENSE
from benchmark.spec.methods import Schedule


def method_words(protocol: Protocol, method: str) -> str:
    """What a method does: scores, cut, rounds, where its final training starts; or whose masks a control takes."""
    if method == DENSE:
        return "the whole network, nothing pruned"
    spec = protocol.method(method)
    if isinstance(spec, ControlSpec):
        what = "with newly drawn weights" if spec.control == "reinitialise" else "permuted within layers"
        return f"the masks of {spec.of} {what}, {spec.draws} draws per mask"
    s = spec.schedule
    parameters = ", ".join(f"{key} = {value}" for key, value in spec.parameters.items())
    kept = ", the lowest kept" if spec.keep == "lowest" else ""
    after = f", final training from {s.restart if s.restart == 'trained' else f'step {s.restart}'}"
    return (
        f"scores of '{spec.pruner}'{f' ({parameters})' if parameters else ''} at {s.scores} weights{kept}, "
        f"{spec.allocation} cut, {rounds_words(s)}{after if protocol.trains else ''}"
    )


def rounds_words(schedule: Schedule) -> str:
    """In how many rounds a density is reached, and how."""
    if schedule.rounds == "levels":
        return "one level per round, training between"
    curve = ", equal numbers of weights a round" if schedule.curve == "linear" else ""
    once = ", scored once for all densities" if schedule.scored == "once-for-all-levels" else ""
    return f"{schedule.rounds} round(s){curve}{once}"
