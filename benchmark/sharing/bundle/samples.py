"""What cells trained again here say of a bundle's: two samples of the same runs. No torch.

Whatever the bundle says of its own machine decides nothing, since its author wrote that. A cell that comes out the same
bit for bit is proved. Of the others rounding moves each accuracy by chance, so their differences are one sample, and it
must show two things: that their mean lies inside the protocol's margin, and that it is no shift, as rounding has no
direction. Accuracies that were all raised by less than the margin differ by nearly the same number everywhere: the
interval of their mean is short, and leaves out zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import fmean

from benchmark.protocols import Protocol
from benchmark.records.schema import Record
from benchmark.sharing.remeasure import CellComparison, half_width

ALPHA = 0.01  # how often an honest bundle is refused for a shift that rounding made
VALUES = ("last", "best", "early_stop")
MOST = 10_000  # cells that are proposed as a sample


@dataclass(frozen=True)
class Shift:
    """One accuracy of cells whose bits differ, here minus bundle: points of percent, with the interval of the mean at
    1 - `ALPHA` (by Student's t; divided among the accuracies that are looked at)."""

    value: str
    cells: int
    mean: float
    half_width: float
    margin: float

    @property
    def is_one(self) -> bool:
        """Whether the mean is no accident of rounding."""
        return abs(self.mean) > self.half_width

    @property
    def inside(self) -> bool:
        """Whether the interval lies inside the protocol's margin."""
        return abs(self.mean) + self.half_width <= self.margin

    def enough(self) -> int | None:
        """How many such cells should bring the interval inside the margin; None if no number does."""
        room = self.margin - abs(self.mean)
        if self.cells < 2 or room <= 0:
            return None
        return min(MOST, ceil(self.cells * (self.half_width / room) ** 2))

    def words(self) -> str:
        """The numbers in words."""
        name = self.value.replace("_", "-")
        return f"{name} test accuracy of {self.cells} cells differs by {self.mean:+.2f} +- {self.half_width:.2f} points"


def shifts(protocol: Protocol, comparisons: Sequence[CellComparison]) -> list[Shift]:
    """One of each accuracy that cells have which finished on both sides with other bits; none if all bits agree."""
    pairs = [(c.recorded, c.again) for c in comparisons if c.again is not None and not c.failure and not c.identical]
    found = []
    for value in VALUES:
        differences = [d for first, again in pairs if (d := _difference(first, again, value)) is not None]
        if differences:
            found.append(_shift(value, differences, protocol.statistics.margins.accuracy_points))
    return found


def _difference(first: Record, again: Record, value: str) -> float | None:
    if first.measured is None or again.measured is None:
        return None
    here, there = (getattr(side.metrics["test_accuracy"], value) for side in (again.measured, first.measured))
    return None if here is None or there is None else float(here - there)


def _shift(value: str, differences: Sequence[float], margin: float) -> Shift:
    half = half_width(differences, ALPHA / len(VALUES))
    return Shift(value, len(differences), fmean(differences), half, margin)


def reasons(found: Sequence[Shift]) -> list[str]:
    """Why a bundle is not believed, in words; none if it is."""
    said = []
    for shift in found:
        if shift.is_one:
            said.append(f"{shift.words()}: a shift, and rounding has no direction")
        elif not shift.inside:
            needed = shift.enough()
            more = f"; --sample {needed} may decide" if needed and abs(shift.mean) <= shift.margin else ""
            more = more or ("; a larger --sample may decide" if shift.cells < 2 else "")
            said.append(f"{shift.words()}, which is not shown to be inside the margin of {shift.margin:.2f}{more}")
    return said


def excludes(found: Sequence[Shift], trained: int, of: int) -> str:
    """What a bundle that was believed can still hide, in words. `trained` of `of` finished cells were trained again."""
    missed = (1 - 0.1) ** trained
    rest = (
        f"{trained} of {of} cells were trained again: a forgery of a tenth of all would be missed with probability "
        f"{missed:.2f}, one of a single cell with {1 - min(1.0, trained / of):.2f}"
    )
    if not found:
        return f"Every cell trained again is the same bit for bit. {rest}."
    largest = max(found, key=lambda shift: abs(shift.mean) + shift.half_width)
    bound = abs(largest.mean) + largest.half_width
    return (
        f"Bits differ in {largest.cells} cells; a common change of up to {bound:.2f} points is not excluded, a larger "
        f"one is at {1 - ALPHA:.0%}. Losses, steps and costs were compared only where bits agree. {rest}."
    )
