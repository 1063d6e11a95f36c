"""Records of one protocol as numbers by (metric, method, level, seed), of one results folder or several as one set with
the methods that plugins added. The unit of every test is the seed. No torch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from statistics import fmean, linear_regression
from typing import Literal, get_args

from benchmark.claims.moderation import Prior
from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell, cells_of, density_text, point_of
from benchmark.records import submissions
from benchmark.records.schema import MaskMetric, Measured, Metric, Number, Record
from benchmark.records.store import Store, left_out
from benchmark.records.submissions import Submission
from benchmark.records.verifications import VerifiedMark, mark_of
from benchmark.utils.errors import BadInput

MASK_METRICS: tuple[str, ...] = get_args(MaskMetric)


def mask_number(record: Record, metric: str) -> float | None:
    """One mask metric of a record; None where the record does not hold it. Errors and ratios as they are.

    `empty-layers` is their number, `layer-density` of the whole mask, `disconnected` 1 or 0.
    """
    if record.mask is not None and metric == "empty-layers":
        return float(len(record.mask.collapsed_layers))
    if record.mask is not None and metric == "layer-density":
        return record.mask.density
    if record.mask is not None and metric == "disconnected":
        return None if record.mask.disconnected is None else float(record.mask.disconnected)
    if record.mask is not None and metric == "effective-density":
        return None if record.mask.effective is None else record.mask.effective / record.mask.prunable
    if metric == "score-slope":
        return score_slope(record)
    fields = {"unit-error": "unit_error_largest", "prune-to-cut": "prune_to_cut_largest"}
    return getattr(record.scores, fields[metric], None) if metric in fields else None


def score_slope(record: Record) -> float | None:
    """Least-squares slope of log(mean score of a layer) on log(its size); -1 if the sums are equal.

    The mean is over the weights that were scored, by the absolute value of their sum: GraSP's has a sign. None if
    fewer than two layers, or a layer without score, were scored.
    """
    if record.scores is None:
        return None
    layers = record.scores.layers.values()
    if len(layers) < 2 or not all(layer.sum and layer.scored for layer in layers):
        return None
    sizes = [math.log(layer.scored) for layer in layers]
    if len(set(sizes)) < 2:
        return None
    return linear_regression(sizes, [math.log(abs(layer.sum) / layer.scored) for layer in layers]).slope


Point = tuple[str, int]  # method, level
ANALYSED = "analysed/"
"""How the metrics of analyses begin; the rest is the number's name."""

_MEASURED: Mapping[str, tuple[str, Literal["last", "best", "early_stop"]]] = {
    "early-stop-accuracy": ("test_accuracy", "early_stop"),
    "last-accuracy": ("test_accuracy", "last"),
    "best-accuracy": ("test_accuracy", "best"),
    "train-accuracy": ("train_accuracy", "last"),
}
"""Metric of a claim -> metric of a record, and which of its values."""

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
        self.priors: dict[tuple[Metric, frozenset[str]], Prior] = {}  # see rules/sampling.py
        self._complete: dict[tuple[Metric, str, int], frozenset[int]] = {}
        self._missing: dict[str, Mapping[int, int]] = {}
        self._looks: dict[int, Observations] = {}

    @cached_property
    def every_record(self) -> tuple[Record, ...]:
        """All records, those of one point and seed together."""
        return tuple(record for group in self.records.values() for record in group)

    def has(self, cell: Cell) -> bool:
        """Whether a cell has a record, of whatever status."""
        return any(r.cell.draw == cell.draw for r in self.records.get((cell.method, cell.level, cell.seed), ()))

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

    def runs(self, method: str, level: int) -> list[Record]:
        """The records of a method at a level, of every seed and draw."""
        seeds = self._seeds.get((method, level), ())
        return [record for seed in seeds for record in self.records[method, level, seed]]

    def value(self, metric: Metric, point: Point, seed: int) -> float | None:
        """A metric of one seed, averaged over its finished draws; None if there is none.

        Accuracies are in percent. A record of a mask that nothing was trained with has none. The dense value of a seed
        is the mean over it and the `dense_seeds` that belong to it, and None before all of them are there.
        """
        method, level = point_of(self.protocol, *point)
        key = (metric, method, level, seed)
        if key not in self._values:
            seeds = (seed, *(() if level else self.protocol.dense_companions.get(seed, ())))
            found = [self._over_draws(metric, (*key[1:3], each)) for each in seeds]
            known = [value for value in found if value is not None]
            self._values[key] = self._mean(metric, known) if len(known) == len(seeds) else None
        return self._values[key]

    def _over_draws(self, metric: Metric, cell: tuple[str, int, int]) -> float | None:
        finished = [record for record in self.records.get(cell, []) if record.status == "finished"]
        found = [value for record in finished if (value := number_of(record, metric)) is not None]
        return self._mean(metric, found) if found else None

    def _mean(self, metric: Metric, values: Sequence[float]) -> float:
        """Steps are compared on the log scale, so rules 2 averages them there as well."""
        if metric == "early-stop-step" and self.protocol.statistics.rules == 2 and len(values) > 1:
            return math.exp(fmean(map(self.logarithm, values)))
        return fmean(values)

    def at_look(self, seeds: int) -> Observations:
        """What was observed of the first `seeds` of the protocol's, as if there were no others; looked up once, since
        every section of a paper has the same looks, and other protocols look into this one at theirs."""
        if seeds not in self._looks:
            first = {seed for seed, place in self.protocol.seed_positions.items() if place < seeds}
            records = (record for record in self.every_record if record.cell.seed in first)
            self._looks[seeds] = Observations(self.protocol, records, self.submissions, self.marks)
        return self._looks[seeds]

    def by_seed(self, metric: Metric, point: Point) -> dict[int, float]:
        """Value of every seed that has one."""
        level = point[1]
        seeds = self._seeds.get(point_of(self.protocol, *point), ())
        if not level and self.protocol.dense_seeds:
            seeds = [seed for seed in seeds if seed in self.protocol.seeds]
        return {seed: value for seed in seeds if (value := self.value(metric, point, seed)) is not None}

    def complete_seeds(self, metric: Metric, points: Iterable[Point]) -> tuple[int, ...]:
        """Seeds that have every one of some points: comparisons use the same seeds on both sides."""
        found = [self._measured_seeds(metric, *point_of(self.protocol, *point)) for point in points]
        return tuple(sorted(frozenset.intersection(*found))) if found else ()

    def _measured_seeds(self, metric: Metric, method: str, level: int) -> frozenset[int]:
        key = (metric, method, level)
        if key not in self._complete:
            self._complete[key] = frozenset(self.by_seed(metric, (method, level)))
        return self._complete[key]

    def failed(self, points: Iterable[Point]) -> tuple[str, ...]:
        """The failed runs among the points, in words."""
        wanted = {point_of(self.protocol, *point) for point in points}
        return tuple(failure_text(self.protocol, r) for r in self.failures if (r.method.name, r.cell.level) in wanted)

    def missing(self, points: Iterable[Point]) -> int:
        """Planned runs of the points, over all seeds and draws, that have no record."""
        wanted = {point_of(self.protocol, *point) for point in points}
        return sum(self._missing_of(method).get(level, 0) for method, level in wanted)

    def _missing_of(self, method: str) -> Mapping[int, int]:
        """Planned runs of a method that have no record, by level."""
        if method not in self._missing:
            planned = Counter((cell.level, cell.seed) for cell in cells_of(self.protocol, method))
            missing: Counter[int] = Counter()
            for (level, seed), runs in planned.items():
                missing[level] += max(0, runs - len(self.records.get((method, level, seed), [])))
            self._missing[method] = missing
        return self._missing[method]

    def resolution(self, metric: Metric) -> float:
        """Step of the grid on which the metric is recorded, in its unit. Numbers of analyses have none: where all seeds
        agree, a thousandth of the margin is the least spread that a test takes for granted."""
        if metric.startswith(ANALYSED):
            return self.protocol.statistics.margins.analysed.get(metric.removeprefix(ANALYSED), 1.0) / 1000
        if metric == "early-stop-step":
            return float(self.protocol.evaluation.every)
        return 1.0 if metric == "empty-layers" else ACCURACY_STEP

    def unit(self, metric: Metric) -> str:
        """The unit of a number of an analysis, as its records give it; nothing where there are none."""
        found = (n for record in self.every_record if (n := analysed_number(record, metric)) is not None)
        return next((number.unit for number in found), "")

    def logarithm(self, step: float) -> float:
        """Log of a step; a minimum at update 0 counts as half an evaluation interval."""
        return math.log(max(step, self.protocol.evaluation.every / 2))


def number_of(record: Record, metric: Metric) -> float | None:
    """One metric of one record, of its training or of its mask; None where it has none."""
    if metric in MASK_METRICS:
        return mask_number(record, metric)
    if metric.startswith(ANALYSED):
        number = analysed_number(record, metric)
        return None if number is None else number.value
    return None if record.measured is None else metric_of(record.measured, metric)


def analysed_number(record: Record, metric: Metric) -> Number | None:
    """A number of an analysis with its unit; None where the record has none of this name."""
    return (record.analysed or {}).get(metric.removeprefix(ANALYSED))


def metric_of(measured: Measured, metric: Metric) -> float | None:
    """One metric of one record; None where the protocol has no early stopping."""
    return measured.early_stop_step if metric == "early-stop-step" else measured.value(*_MEASURED[metric])


def reported_metric(protocol: Protocol) -> Metric:
    """The accuracy that the protocol's paper reports; the number of empty layers where nothing is trained, and of
    analyses the first number that has a margin."""
    if protocol.measures == "analysis":
        return f"{ANALYSED}{next(iter(protocol.statistics.margins.analysed), 'number')}"
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


REPORTED = "reported"


def mark_text(mark: VerifiedMark | None) -> str:
    """How far a row can be trusted: `reported` by its author, or measured again by somebody, who may have signed it."""
    if mark is None:
        return REPORTED
    v = mark.verification
    fresh = f", {v.fresh_cells} at fresh seeds" if v.fresh_cells else ""
    return f"verified ({v.by}, {v.when}, {v.cells} cell{'s' if v.cells > 1 else ''}{fresh}, {mark.signing})"


def _standing(store: Store, protocol: Protocol, submission: Submission) -> str:
    """`mark_text` of what lies beside a submission; a mark that does not hold is said once, and counts for nothing."""
    try:
        return mark_text(mark_of(store, protocol, submission))
    except BadInput as error:
        left_out(str(error))
        return REPORTED


def all_gathered(protocols: Iterable[Protocol], stores: Sequence[Store]) -> dict[str, Observations]:
    """What `gathered` gives of each protocol, by its id. Raises BadInput."""
    return {protocol.id: gathered(protocol, stores) for protocol in protocols}


def gathered(protocol: Protocol, stores: Sequence[Store]) -> Observations:
    """All records of a protocol, and the methods of plugins. Where two folders hold one cell, the first one counts.

    Raises BadInput if two folders hold different code under one name, or a record that other code made.
    """
    added: dict[str, Submission] = {}
    marks: dict[str, str] = {}
    records: dict[tuple[str, int, int, int], Record] = {}
    for store in stores:
        own = submissions.of_protocol(store, protocol, sound_only=True)
        found = store.records(protocol)
        for name, submission in own.items():
            submissions.refuse_mixed(submission, (r for r in found if r.method.name == name))
            if added.setdefault(name, submission) != submission:
                raise BadInput(
                    f"{protocol.key} {name}",
                    f"{store.root} and a folder before it hold different plugins of this name",
                    "Rename one of the plugin files, and measure it again",
                )
            standing = _standing(store, protocol, submission)
            if standing != REPORTED or name not in marks:
                marks[name] = standing
        for r in found:
            records.setdefault((r.method.name, r.cell.level, r.cell.seed, r.cell.draw), r)
    wider = submissions.added_to(protocol, added)
    return Observations(wider, (records[key] for key in sorted(records)), added, marks)
