"""Records of one protocol as numbers by (metric, method, level, seed). The unit of every test is the seed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from statistics import fmean

from benchmark.metrics import Metric
from benchmark.plan import cells_of
from benchmark.protocol import Protocol
from benchmark.records import DENSE, Measured, Record
from benchmark.scoring.mask_numbers import MASK_METRICS, mask_number
from benchmark.submissions import Submission
from benchmark.units import density_text

Point = tuple[str, int]  # method, level

_NUMBERS: Mapping[str, Callable[[Measured], float | None]] = {
    "early-stop-accuracy": lambda measured: measured.test_accuracy_percent.early_stop,
    "last-accuracy": lambda measured: measured.test_accuracy_percent.last,
    "best-accuracy": lambda measured: measured.test_accuracy_percent.best,
    "train-accuracy": lambda measured: measured.train_accuracy_percent_last,
    "early-stop-step": lambda measured: measured.early_stop_step,
}
ACCURACY_STEP = 0.01  # points; the finest grid of the suite, one of 10,000 test examples


class Observations:
    """All records of a protocol. Draws of a control are averaged within their seed.

    `submissions` and `marks`: what plugins added, by method, and whether that is `reported` or `verified (...)`.
    """

    def __init__(
        self,
        protocol: Protocol,
        records: Iterable[Record],
        submissions: Mapping[str, Submission] | None = None,
        marks: Mapping[str, str] | None = None,
    ) -> None:
        self.protocol = protocol
        self.submissions, self.marks = dict(submissions or {}), dict(marks or {})
        self.records: dict[tuple[str, int, int], list[Record]] = {}
        for record in records:
            key = (record.method.name, record.cell.level, record.cell.seed)
            self.records.setdefault(key, []).append(record)
        self._values: dict[tuple[Metric, str, int, int], float | None] = {}
        self._complete: dict[tuple[Metric, str, int], frozenset[int]] = {}

    @cached_property
    def _seeds(self) -> Mapping[Point, Sequence[int]]:
        """The seeds of every point that has records, sorted."""
        found: dict[Point, list[int]] = {}
        for method, level, seed in sorted(self.records):
            found.setdefault((method, level), []).append(seed)
        return found

    @cached_property
    def failures(self) -> list[Record]:
        """Every failed record, in the order of method, level, seed."""
        found = [r for _, group in sorted(self.records.items()) for r in group if r.status == "failed"]
        return sorted(found, key=lambda r: (r.method.name, r.cell.level, r.cell.seed, r.cell.draw))

    def value(self, metric: Metric, point: Point, seed: int) -> float | None:
        """A metric of one seed, averaged over its finished draws; None if there is none.

        Accuracies are in percent. A record of a mask that nothing was trained with has none.
        """
        method, level = point
        key = (metric, method if level else DENSE, level, seed)
        if key not in self._values:
            found = [
                value
                for record in self.records.get(key[1:], [])
                if record.status == "finished" and (value := number_of(record, metric)) is not None
            ]
            self._values[key] = fmean(found) if found else None
        return self._values[key]

    def by_seed(self, metric: Metric, point: Point) -> dict[int, float]:
        """Value of every seed that has one."""
        method, level = point
        seeds = self._seeds.get((method if level else DENSE, level), ())
        return {seed: value for seed in seeds if (value := self.value(metric, point, seed)) is not None}

    def complete_seeds(self, metric: Metric, points: Iterable[Point]) -> tuple[int, ...]:
        """Seeds that have every one of some points: comparisons use the same seeds on both sides."""
        found = [self._measured_seeds(metric, method if level else DENSE, level) for method, level in points]
        return tuple(sorted(frozenset.intersection(*found))) if found else ()

    def _measured_seeds(self, metric: Metric, method: str, level: int) -> frozenset[int]:
        key = (metric, method, level)
        if key not in self._complete:
            self._complete[key] = frozenset(self.by_seed(metric, (method, level)))
        return self._complete[key]

    def failed(self, points: Iterable[Point]) -> tuple[str, ...]:
        """The failed runs among the points, in words."""
        wanted = {(method if level else DENSE, level) for method, level in points}
        return tuple(failure_text(self.protocol, r) for r in self.failures if (r.method.name, r.cell.level) in wanted)

    def missing(self, points: Iterable[Point]) -> int:
        """Planned runs of the points, over all seeds and draws, that have no record."""
        wanted = {(method if level else DENSE, level) for method, level in points}
        planned = [c for method in {m for m, _ in wanted} for c in cells_of(self.protocol, method)]
        counted = Counter((c.method, c.level, c.seed) for c in planned if (c.method, c.level) in wanted)
        return sum(max(0, n - len(self.records.get(key, []))) for key, n in counted.items())

    def resolution(self, metric: Metric) -> float:
        """Step of the grid on which the metric is recorded, in its unit."""
        if metric == "early-stop-step":
            return float(self.protocol.evaluation.every)
        return 1.0 if metric == "empty-layers" else ACCURACY_STEP

    def logarithm(self, step: float) -> float:
        """Log of a step; a minimum at update 0 counts as half an evaluation interval."""
        return math.log(max(step, self.protocol.evaluation.every / 2))


def number_of(record: Record, metric: Metric) -> float | None:
    """One metric of one record, of its training or of its mask; None where it has none."""
    if metric in MASK_METRICS:
        return mask_number(record, metric)
    return None if record.measured is None else metric_of(record.measured, metric)


def metric_of(measured: Measured, metric: Metric) -> float | None:
    """One metric of one record; None where the protocol has no early stopping."""
    return _NUMBERS[metric](measured)


def reported_metric(protocol: Protocol) -> Metric:
    """The accuracy that the protocol's paper reports; the number of empty layers where nothing is trained."""
    if not protocol.trains:
        return "empty-layers"
    metrics: dict[str, Metric] = {
        "last": "last-accuracy",
        "best": "best-accuracy",
        "early-stop": "early-stop-accuracy",
    }
    return metrics[protocol.evaluation.reported]


def failure_text(protocol: Protocol, record: Record) -> str:
    """A failed run in words."""
    draw = f", draw {record.cell.draw}" if record.cell.draw else ""
    where = f"{record.method.name} at {density_text(protocol, record.cell.level)}, seed {record.cell.seed}{draw}"
    return f"{where}: {record.reason}"
