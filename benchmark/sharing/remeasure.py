"""Make recorded cells again on this machine and compare: identical, equivalent, or different.

Used by `run --recheck`, `regression` and `verify`. On the same hardware and versions (`same_machine`) a cell must have
the same bits. Elsewhere arithmetic rounds differently, so single cells differ by chance and only means over cells are
compared, with the margin that the protocol fixed in advance. No torch here: the networks are the harness's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import mean, stdev
from typing import TYPE_CHECKING

from benchmark.claims.statistics import quantile
from benchmark.planning.plan import Job
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell
from benchmark.records.masks import mask_digest
from benchmark.records.provenance import Provenance
from benchmark.records.schema import Record, cell_of
from benchmark.records.store import Store

if TYPE_CHECKING:
    from benchmark.harness.harness import Harness
    from benchmark.harness.masks import MaskMaker
    from benchmark.pruning.interface import Masks


@dataclass(frozen=True)
class MaskComparison:
    """The masks of one cell made again, and whether they are the recorded ones bit for bit."""

    masks: Masks
    identical: bool


def mask_again(maker: MaskMaker, recorded: Record) -> MaskComparison:
    """Make the masks of a record's cell again. Raises LotterybenchError if the pruner makes none here."""
    masks = maker.make(cell_of(recorded))[0]
    digest = mask_digest({name: mask.numpy() for name, mask in masks.items()})
    return MaskComparison(masks, recorded.mask is not None and digest == recorded.mask.sha256)


@dataclass(frozen=True)
class CellComparison:
    """One cell's committed record and what making it again recorded; None if nothing was recorded."""

    recorded: Record
    again: Record | None

    @property
    def failure(self) -> str | None:
        """Why there is nothing to compare; None if the cell finished here too."""
        if self.again is None:
            return "nothing was recorded"
        return self.again.reason or "it failed" if self.again.status == "failed" else None

    @property
    def identical(self) -> bool:
        """Whether everything that must repeat on the same hardware is the same, bit for bit."""
        return self.again is not None and self.recorded.fingerprint() == self.again.fingerprint()

    @property
    def differs(self) -> bool:
        """Whether a cell that finished here has other bits although the machine is the same, or does not matter."""
        return (
            self.again is not None
            and not self.failure
            and not self.identical
            and (
                same_machine(self.recorded.provenance, self.again.provenance)
                or both_portable(self.recorded, self.again)
            )
        )


def cell_again(harness: Harness, cell: Cell, recorded: Record) -> CellComparison:
    """Train a cell again into the harness's own folder, and compare it with its record."""
    harness.run(Job(harness.protocol, (cell,)))
    return CellComparison(recorded, harness.store.read(harness.protocol, cell))


@dataclass(frozen=True)
class MeanComparison:
    """How many cells made again agree with their records in the mean.

    `mean_difference`, `half_width` (of its 95 % interval) and `margin` are points of last test accuracy or, where
    nothing is trained, of the density of a layer.
    """

    protocol: str
    cells: int
    identical: int
    mean_difference: float
    half_width: float
    margin: float

    @property
    def deviates(self) -> bool:
        """Whether the 95 % interval of the mean difference lies outside the protocol's margin."""
        return abs(self.mean_difference) - self.half_width > self.margin

    def sentence(self) -> str:
        """One line for the terminal."""
        start = f"{self.protocol}: {self.cells} cells measured again here, {self.identical} identical bit for bit"
        if self.identical == self.cells:
            return start + "."
        interval = f"{self.mean_difference:+.2f} +- {self.half_width:.2f} points (margin {self.margin:.2f})"
        return f"{start}; mean difference {interval}: {'DEVIATES' if self.deviates else 'no deviation shown'}."


def compare_means(protocol: Protocol, first: Store, again: Store) -> MeanComparison:
    """Compare every cell that both folders have finished."""
    recorded = {cell_of(record): record for record in first.records(protocol) if record.status == "finished"}
    repeated = [record for record in again.records(protocol) if record.status == "finished"]
    pairs = [CellComparison(recorded[cell_of(r)], r) for r in repeated if cell_of(r) in recorded]
    differences = [_points(protocol, pair.recorded, pair.again) for pair in pairs if pair.again is not None]
    return MeanComparison(
        protocol.key,
        len(pairs),
        sum(pair.identical for pair in pairs),
        mean(differences) if differences else 0.0,
        half_width(differences),
        protocol.statistics.margins.accuracy_points,
    )


def differing_dense(protocol: Protocol, ours: Store, theirs: Store) -> str | None:
    """Whether dense networks of the same seeds differ between two folders whose methods are shown side by side, in
    words; None if they do not, or no seed has one in both."""
    own = {cell_of(r): r for r in ours.records(protocol) if r.method.name == DENSE and r.status == "finished"}
    others = [r for r in theirs.records(protocol) if r.status == "finished" and cell_of(r) in own]
    pairs = [CellComparison(own[cell_of(record)], record) for record in others]
    differing = [pair for pair in pairs if not pair.identical]
    if not differing:
        return None
    differences = [_points(protocol, pair.recorded, pair.again) for pair in pairs if pair.again is not None]
    spread = f" +- {half:.2f}" if (half := half_width(differences)) < inf else ""
    return (
        f"{protocol.key}: {len(differing)} of {len(pairs)} dense networks in {theirs.root} have other bits than those "
        f"in {ours.root}, {mean(differences):+.2f}{spread} points on average. Another machine, version or code made "
        "them: compare a method with dense networks of its own folder"
    )


def same_machine(a: Provenance, b: Provenance) -> bool:
    """Whether two records were made by the same versions on the same hardware, so that bits must agree.

    A record made before there was `provenance.machine` names no machine, and is of none.
    """
    if a.machine is None or a.machine != b.machine:
        return False
    return (a.python, a.packages, a.platform, a.device, a.driver, a.threads, a.precision) == (
        b.python, b.packages, b.platform, b.device, b.driver, b.threads, b.precision,
    )  # fmt: skip


PORTABLE_SCORES = (None, "magnitude", "random")
"""Pruners whose masks are the same on every machine: no matrix product is behind their scores."""


def is_portable(provenance: Provenance) -> bool:
    """Whether the training was in arithmetic that gives the same bits on every machine, given the same mask."""
    return (provenance.arithmetic or "").startswith("portable-")


def both_portable(a: Record, b: Record) -> bool:
    """Whether two records were made in the same portable arithmetic, mask included, so that bits must agree on any
    two machines."""
    found = {each.provenance.arithmetic or "torch" for each in (a, b)}
    return len(found) == 1 and is_portable(a.provenance) and a.method.pruner in PORTABLE_SCORES


def half_width(differences: Sequence[float], alpha: float = 0.05) -> float:
    """Of the 1 - alpha interval of the mean, by Student's t; infinite for fewer than two, which have no spread."""
    if len(differences) < 2:
        return inf
    return quantile(1 - alpha / 2, len(differences) - 1) * stdev(differences) / sqrt(len(differences))


def _points(protocol: Protocol, recorded: Record, again: Record) -> float:
    """Points of last test accuracy or, where nothing was trained, of the layer density that differs most. Of an
    analysis the number that differs most, a margin of its own for every margin in points."""
    margins = protocol.statistics.margins
    if recorded.analysed and again.analysed:
        off = [
            (again.analysed[name].value - recorded.analysed[name].value) / margin
            for name, margin in margins.analysed.items()
            if name in recorded.analysed and name in again.analysed
        ]
        return margins.accuracy_points * max(off, key=abs, default=0.0)
    if recorded.measured and again.measured:
        return again.measured.last("test_accuracy") - recorded.measured.last("test_accuracy")
    assert recorded.mask is not None  # finished records have masks
    assert again.mask is not None
    before, now = recorded.mask.layers, again.mask.layers
    return max((100 * (now[n].kept - before[n].kept) / before[n].size for n in before), key=abs)
