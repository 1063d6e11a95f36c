"""Methods by density: means, intervals, ranks without false precision, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmark import statistics
from benchmark.plan import method_names
from benchmark.protocol import Protocol
from benchmark.published import Published
from benchmark.records import DENSE, Record
from benchmark.scoring.observations import Observations, reported_metric
from benchmark.statistics import Estimate


@dataclass(frozen=True)
class Costs:
    """Means over runs: updates spent to find the mask, updates of the final training, examples scored.

    `mask_examples` and `mask_seconds`: all examples seen and all time taken before the final training starts, scoring
    and training of networks that only serve to find the mask, at the speed of the run's own training.
    """

    mask_train_steps: float
    train_steps: float
    prune_examples: float
    mask_examples: float
    mask_seconds: float


@dataclass(frozen=True)
class Standing:
    """One method at one level. Accuracy in percent, as the paper reports it; rank None for the dense network.

    `mark`: for a plugin's method, `reported` or `verified (by, when, n cells)`.
    """

    method: str
    level: int
    accuracy: Estimate
    early_stop_step: Estimate | None
    rank: int | None
    costs: Costs | None
    mark: str | None = None

    @property
    def label(self) -> str:
        """The method with its mark, as a row begins."""
        return f"{self.method} ({self.mark})" if self.mark else self.method


def shown_levels(protocol: Protocol, papers: Sequence[Published]) -> tuple[int, ...]:
    """Levels that the paper names and at least two methods are measured at; without a paper, all of the latter."""
    named = {level for paper in papers for level in paper.densities.get(protocol.id, {})}
    counts: dict[int, int] = {}
    for method in protocol.all_methods:
        for level in protocol.measured_levels(method):
            counts[level] = counts.get(level, 0) + 1
    shared = {level for level, count in counts.items() if count > 1}
    return tuple(sorted(shared & named or shared))


def planned(protocol: Protocol, method: str, level: int) -> bool:
    """Whether the protocol measures the method at the level."""
    return level == 0 if method == DENSE else level in protocol.measured_levels(method)


def standings(seen: Observations, level: int) -> list[Standing]:
    """Measured methods at a level, best first; methods that cannot be told apart share a rank."""
    protocol, metric = seen.protocol, reported_metric(seen.protocol)
    samples = samples_at(seen, level)
    ranks = statistics.ranks(samples, protocol.statistics.alpha, seen.resolution(metric))
    found = [standing(seen, method, level, ranks[method]) for method in samples]
    return sorted((s for s in found if s), key=lambda s: (s.rank or 0, -s.accuracy.mean, s.method))


def samples_at(seen: Observations, level: int) -> dict[str, dict[int, float]]:
    """Method -> seed -> accuracy in percent, as the paper reports it, of what is measured at a level."""
    metric, methods = reported_metric(seen.protocol), seen.protocol.all_methods
    return {m: values for m in methods if level and (values := seen.by_seed(metric, (m, level)))}


def standing(seen: Observations, method: str, level: int, rank: int | None = None) -> Standing | None:
    """One method at one level; None if nothing is measured."""
    metric = reported_metric(seen.protocol)
    values = seen.by_seed(metric, (method, level))
    if not values:
        return None
    steps = list(seen.by_seed("early-stop-step", (method, level)).values())
    return Standing(
        method,
        level,
        statistics.estimate(list(values.values()), seen.resolution(metric)),
        statistics.estimate(steps, seen.resolution("early-stop-step")) if steps else None,
        rank,
        _costs([r for (m, lv, _), group in seen.records.items() if (m, lv) == (method, level) for r in group]),
        seen.marks.get(method),
    )


def _costs(records: Sequence[Record]) -> Costs | None:
    found = [record.cost for record in records if record.cost is not None and record.status == "finished"]
    if not found:
        return None
    return Costs(
        fmean(c.mask_train_steps for c in found),
        fmean(c.train_steps for c in found),
        fmean(c.prune_examples for c in found),
        fmean(c.prune_examples + c.mask_train_steps * _each(c.train_examples, c.train_steps) for c in found),
        fmean(c.prune_seconds + c.mask_train_steps * _each(c.train_seconds, c.train_steps) for c in found),
    )


def _each(total: float, steps: int) -> float:
    return total / steps if steps else 0.0


def other_measured(seen: Observations, shown: Sequence[int]) -> list[Standing]:
    """Everything measured at levels that are not shown, by method and level."""
    protocol = seen.protocol
    cells = {(method, level) for method, level, _ in seen.records if level and level not in shown}
    order = {name: place for place, name in enumerate(method_names(protocol))}
    ordered = sorted(cells, key=lambda c: (order.get(c[0], len(order)), c))
    return [s for method, level in ordered if (s := standing(seen, method, level))]
