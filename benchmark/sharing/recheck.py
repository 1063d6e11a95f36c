"""Comparing cells measured again on this machine with the records they repeat."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from statistics import mean, stdev

from benchmark.protocols import Protocol
from benchmark.records.schema import Provenance, Record
from benchmark.records.store import Store


@dataclass(frozen=True)
class Recheck:
    """How the cells measured again agree with the first records. Differences in points of last test accuracy, or of
    the density of a layer where nothing is trained."""

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


def compare(protocol: Protocol, first: Store, again: Store) -> Recheck:
    """Compare every cell that both folders hold finished. Other hardware rounds differently, so runs differ
    there by chance; what must agree is the mean."""
    ours = {_key(record): record for record in first.records(protocol) if record.status == "finished"}
    pairs = [(ours[_key(r)], r) for r in again.records(protocol) if r.status == "finished" and _key(r) in ours]
    differences = [_difference(old, theirs) for old, theirs in pairs]
    half = inf  # one difference has no spread
    if len(differences) > 1:
        from scipy.stats import t

        half = float(t.ppf(0.975, len(differences) - 1)) * stdev(differences) / sqrt(len(differences))
    return Recheck(
        protocol.key,
        len(pairs),
        sum(old.fingerprint() == theirs.fingerprint() for old, theirs in pairs),
        mean(differences) if differences else 0.0,
        half,
        protocol.statistics.margins.accuracy_points,
    )


def same_machine(a: Provenance, b: Provenance) -> bool:
    """Whether two records were made by the same versions on the same hardware, so that bits must agree."""
    return (a.python, a.packages, a.platform, a.device, a.driver, a.threads, a.precision) == (
        b.python, b.packages, b.platform, b.device, b.driver, b.threads, b.precision,
    )  # fmt: skip


def _key(record: Record) -> tuple[str, int, int, int]:
    return record.method.name, record.cell.level, record.cell.seed, record.cell.draw


def _difference(old: Record, new: Record) -> float:
    """Points of last test accuracy or, where nothing was trained, of the layer density that differs most."""
    if old.measured and new.measured:
        return new.measured.test_accuracy_percent.last - old.measured.test_accuracy_percent.last
    assert old.mask is not None  # finished records have masks
    assert new.mask is not None
    ours, theirs = old.mask.layers, new.mask.layers
    return max((100 * (theirs[n].kept - ours[n].kept) / ours[n].size for n in ours), key=abs)
