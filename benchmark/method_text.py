"""What a method of a protocol does, in words. No torch."""

from __future__ import annotations

from benchmark.protocol import ControlSpec, Protocol
from benchmark.records import DENSE


def method_words(protocol: Protocol, method: str) -> str:
    """What a method does: scores, cut, rounds, where its final training starts; or whose masks a control takes."""
    if method == DENSE:
        return "the whole network, nothing pruned"
    spec = protocol.method(method)
    if isinstance(spec, ControlSpec):
        what = "with newly drawn weights" if spec.control == "reinitialise" else "permuted within layers"
        return f"the masks of {spec.of} {what}, {spec.draws} draws per mask"
    s = spec.schedule
    rounds = "one level per round, training between" if s.rounds == "levels" else f"{s.rounds} round(s)"
    parameters = ", ".join(f"{key} = {value}" for key, value in spec.parameters.items())
    return (
        f"scores of '{spec.pruner}'{f' ({parameters})' if parameters else ''} at {s.scores} weights, {spec.allocation} "
        f"cut, {rounds}, final training from {s.restart if s.restart == 'trained' else f'step {s.restart}'}"
    )
