"""Cells: what a protocol measures, one network (or mask) each; how much training they are; and their words in reports.

Densities are printed in the unit of each paper. Inside the code a density is always a fraction that remains.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from math import inf, log10
from typing import Protocol as Interface

from benchmark.protocols.analysis import AnalysisSpec
from benchmark.protocols.methods import ControlSpec, MethodSpec, Schedule
from benchmark.protocols.protocol import Protocol
from benchmark.protocols.transfer import MasksFrom, source_level
from benchmark.utils.errors import BadInput

DENSE = "dense"


@dataclass(frozen=True, order=True)
class Cell:
    """One trained network of a protocol. `draw` counts a control's independent repetitions."""

    method: str
    level: int
    seed: int
    draw: int = 0

    @property
    def name(self) -> str:
        """File name without extension, unique within the method's folder."""
        return f"level-{self.level:02d}_seed-{self.seed}" + (f"_draw-{self.draw}" if self.draw else "")


def title(cell: Cell) -> str:
    """A cell in words."""
    return f"{cell.method} level {cell.level}, seed {cell.seed}"


def is_chain(protocol: Protocol, method: str) -> bool:
    """Whether `method` needs level r - 1 before level r."""
    return method != DENSE and protocol.method(method).is_chain


def shares_work(protocol: Protocol, method: str) -> bool:
    """Whether the levels of a seed belong in one job: a chain, or masks cut from one set of scores."""
    return method != DENSE and protocol.method(method).shares_work


def method_names(protocol: Protocol) -> list[str]:
    """Dense first, if networks are trained, then the protocol's methods in its order, then added ones; of a protocol
    that measures analyses, those alone."""
    if protocol.measures == "analysis":
        return [*protocol.analyses]
    return [DENSE, *protocol.all_methods] if protocol.trains else [*protocol.all_methods]


def point_of(protocol: Protocol, method: str, level: int) -> tuple[str, int]:
    """Whose record holds a method at a level: level 0 of pruning methods is the one dense network, of an analysis its
    own."""
    return (method if level or protocol.measures == "analysis" else DENSE, level)


def behind(protocol: Protocol, method: str) -> tuple[str, ...]:
    """The pruning methods that a method runs: itself, or all that a protocol has for its analyses to look at."""
    return tuple(protocol.examined.methods) if method in protocol.analyses else (method,)


@cache
def cells_of(protocol: Protocol, method: str) -> tuple[Cell, ...]:
    """Every cell of a method, seeds outermost."""
    if method == DENSE:
        return tuple(Cell(DENSE, 0, seed) for seed in (*protocol.seeds, *protocol.dense_seeds))
    draws, levels = protocol.method(method).draws, protocol.measured_levels(method)
    return tuple(Cell(method, lv, seed, draw) for seed in protocol.seeds for draw in range(draws) for lv in levels)


def select(protocols: Iterable[Protocol], only: Sequence[str]) -> list[tuple[Protocol, str]]:
    """(protocol, method) pairs that match a pattern `<protocol>` or `<protocol>:<method>`; none given = all."""
    pairs = [(protocol, method) for protocol in protocols for method in method_names(protocol)]
    if not only:
        return pairs
    return [
        (protocol, method)
        for protocol, method in pairs
        if any(fnmatchcase(protocol.id, p) or fnmatchcase(f"{protocol.id}:{method}", p) for p in only)
    ]


def train_steps(protocol: Protocol, cell: Cell) -> int:
    """Optimizer updates that training this cell takes; what its mask needs is not counted."""
    if not protocol.trains:
        return 0
    if cell.method == DENSE:
        return protocol.recipe.steps
    schedule, spec = protocol.pruning_method(cell.method).schedule, protocol.method(cell.method)
    if protocol.level_table[cell.level].kept == 0 or schedule.training == "none":
        return 0
    if isinstance(spec, ControlSpec) and spec.control == "reset":
        return protocol.recipe.steps
    if schedule.restart == "trained":
        return schedule.retrain_steps or protocol.recipe.steps
    return protocol.recipe.steps - schedule.restart


def learning_steps(protocol: Protocol, cell: Cell) -> int:
    """Optimizer updates of scores from which the cell's mask is learned, or its parent's; 0 for most methods."""
    if cell.method == DENSE or not protocol.trains:
        return 0
    learning = protocol.pruning_method(cell.method).learning
    return learning.of(protocol).steps if learning and protocol.level_table[cell.level].kept else 0


def source_of(protocol: Protocol, cell: Cell) -> tuple[Protocol, Cell] | None:
    """The protocol and the cell whose mask a cell takes, where its method has `masks_from`; None elsewhere.

    Raises BadInput if the source was not loaded: a document from elsewhere than a file names it, and does not hold it.
    """
    if cell.method == DENSE or cell.method in protocol.analyses:
        return None
    taken = protocol.pruning_method(cell.method).masks_from
    if taken is None:
        return None
    source = protocol.mask_sources.get(taken.protocol)
    if source is None:
        raise BadInput(f"protocol {protocol.id}", f"{taken.protocol} was not loaded", "Load the protocol from its file")
    level = source_level(protocol, taken, source, cell.level)
    assert level is not None  # checked when it was loaded
    return source, Cell(taken.method if level else DENSE, level, cell.seed)


def started_from(protocol: Protocol, cell: Cell) -> Cell | None:
    """The source's cell whose trained weights a cell starts from; None where it starts from others."""
    found = source_of(protocol, cell)
    if found is None:
        return None
    taken = protocol.pruning_method(cell.method).masks_from
    of = {"trained": Cell(DENSE, 0, cell.seed), "fine-tuned": found[1]}
    return of.get(taken.reset) if taken else None


def source_cells(protocol: Protocol, method: str) -> dict[Protocol, set[Cell]]:
    """By source protocol, every cell whose network or mask a method's cells take; empty for most methods."""
    found: dict[Protocol, set[Cell]] = {}
    for cell in cells_of(protocol, method):
        if (taken := source_of(protocol, cell)) is not None:
            found.setdefault(taken[0], set()).add(taken[1])
    return found


class Priority(Interface):
    """Which cells are wanted most; see `planning.priority`."""

    def tier(self, protocol: Protocol, cell: Cell, /) -> tuple[int, int]:
        """Lowest first."""

    def includes(self, protocol: Protocol, cell: Cell, /) -> bool:
        """Whether a cell is wanted at all."""


class _ProtocolOrder:
    """The protocol's own order."""

    def tier(self, _protocol: Protocol, _cell: Cell) -> tuple[int, int]:
        """See `Priority`."""
        return (0, 0)

    def includes(self, _protocol: Protocol, _cell: Cell) -> bool:
        """See `Priority`."""
        return True


PROTOCOL_ORDER = _ProtocolOrder()


def method_words(protocol: Protocol, method: str) -> str:
    """What a method does: scores, cut, rounds, where its final training starts; or whose masks a control takes."""
    if method == DENSE:
        return "the whole network, nothing pruned"
    spec = protocol.method(method)
    if isinstance(spec, AnalysisSpec):
        return _analysis_words(spec)
    return _control_words(spec) if isinstance(spec, ControlSpec) else _pruning_words(protocol, spec)


def _analysis_words(spec: AnalysisSpec) -> str:
    given = ", ".join(f"{key} = {value}" for key, value in spec.parameters.items())
    return f"analysis '{spec.analysis}'{f' ({given})' if given else ''}{f' of {spec.of}' if spec.of else ''}"


def _control_words(spec: ControlSpec) -> str:
    if spec.inverted is not None:
        of = "in every round" if spec.inverted == "every-round" else "of the whole network, cut in one round"
        return f"masks by the scores of {spec.of} turned around {of}"
    if spec.hook is not None:
        return f"the masks of {spec.of}, '{spec.hook.name}' while training"
    if spec.control == "reset":
        return f"the masks of {spec.of}, final training from step 0"
    what = "with newly drawn weights" if spec.control == "reinitialise" else "permuted within layers"
    return f"the masks of {spec.of} {what}, {spec.draws} draws per mask"


def _pruning_words(protocol: Protocol, spec: MethodSpec) -> str:
    s = spec.schedule
    parameters = ", ".join(f"{key} = {value}" for key, value in spec.parameters.items())
    kept = ", the lowest kept" if spec.keep == "lowest" else ""
    after = f", final training from {s.restart if s.restart == 'trained' else f'step {s.restart}'}"
    if s.training == "none":
        after = ", the masked initial network as it is, not trained"
    after += ", weights as signed constants" if s.values == "signed-constant" else ""
    hook = "" if spec.hook is None else f", then '{spec.hook.name}' while training"
    if spec.masks_from:
        return f"{_source_words(spec.masks_from)}{hook}"
    if spec.learning:
        steps = f"{spec.learning.of(protocol).steps:,} updates"
        of = f"'{spec.pruner}'{f' ({parameters})' if parameters else ''}"
        return f"a mask learned by {of} in {steps} of its scores, {spec.allocation} cut{after}"
    return (
        f"scores of '{spec.pruner}'{f' ({parameters})' if parameters else ''} at {s.scores} weights{kept}, "
        f"{spec.allocation} cut, {rounds_words(s)}{after if protocol.trains else ''}{hook}"
    )


def _source_words(taken: MasksFrom) -> str:
    starts = {
        "trained": "the trained dense weights there",
        "theta0": "the initial weights there",
        "fine-tuned": "the weights of the pruned network there",
        "random": "weights drawn anew",
        "resampled": "values drawn from the initial weights there that the mask leaves",
    }
    level = "" if taken.level is None else f" at level {taken.level}"
    head = f" with noise of {taken.noise:g} deviations" if taken.noise else ""
    head += f", {' and '.join(taken.head)} initialised" if taken.head else ""
    return f"masks of {taken.method}{level} of {taken.protocol}, final training from {starts[taken.reset]}{head}"


def rounds_words(schedule: Schedule) -> str:
    """In how many rounds a density is reached, and how."""
    if schedule.rounds == "levels":
        return "one level per round, training between"
    curve = ", equal numbers of weights a round" if schedule.curve == "linear" else ""
    curve += ", pruned weights may return" if schedule.pruned_weights == "may-return" else ""
    curve += ", layers as level after level would leave them" if schedule.layer_counts == "of-levels" else ""
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
