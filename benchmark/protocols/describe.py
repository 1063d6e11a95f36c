"""Densities in the unit of each paper. Inside the code a density is always a fraction that remains.

What a method of a protocol does, in words. No torch.
"""

from __future__ import annotations

from math import inf, log10

from benchmark.protocols.cells import DENSE
from benchmark.protocols.methods import ControlSpec, Schedule
from benchmark.protocols.protocol import Protocol


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


def density_text(protocol: Protocol, level: int) -> str:
    """A level's density in the paper's own unit, e.g. '21.1 %' remaining or sparsity '0.919'."""
    density = protocol.level_table[level].density
    unit = protocol.reports_density_as
    if unit == "percent-remaining":
        return f"{100 * density:.1f} %"
    if unit == "percent-pruned":
        return f"{100 * (1 - density):.1f} %"
    if unit == "sparsity":
        return f"{1 - density:.3f}"
    return f"10^{abs(log10(density)):.2f}" if density else "10^inf"  # abs: no 10^-0.00 for the dense network


def unit_name(protocol: Protocol) -> str:
    """Column heading for `density_text`."""
    return {
        "percent-remaining": "weights remaining",
        "percent-pruned": "weights pruned",
        "sparsity": "sparsity",
        "log10-compression": "compression",
    }[protocol.reports_density_as]


def axis_value(protocol: Protocol, level: int) -> float:
    """Where a level stands on an axis in the paper's own unit; infinite for compression when nothing is left."""
    density = protocol.level_table[level].density
    unit = protocol.reports_density_as
    if unit == "percent-remaining":
        return 100 * density
    if unit == "log10-compression":
        return abs(log10(density)) if density else inf
    return (1 - density) * (100 if unit == "percent-pruned" else 1)


def axis_name(protocol: Protocol) -> str:
    """Title of that axis."""
    name = unit_name(protocol)
    if protocol.reports_density_as == "log10-compression":
        return f"log10 of {name}"
    return f"{name}, %" if protocol.reports_density_as.startswith("percent") else name
