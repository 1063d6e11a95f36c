"""How methods compare at one density, for the board and the HTML report: means with intervals, ranks, costs. No torch.

Methods are ranked within their cost group only (`taxonomy`), by means and by tests: a rank is a group of methods of
which no two are told apart, and none with a higher mean is in a later one. Controls are shown and not ranked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmark.claims import statistics
from benchmark.claims.observations import Observations, reported_metric
from benchmark.claims.published import Published
from benchmark.claims.statistics import Estimate, interval
from benchmark.claims.wording import number
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, cells_of, density_text, method_names, unit_name
from benchmark.records.schema import CostFacts, Record
from benchmark.report.multiply_adds import mean_share, share_text
from benchmark.report.taxonomy import (
    COST_GROUPS,
    CostGroup,
    Taxonomy,
    examples_scored,
    is_control,
    ranked_methods,
    taxonomy,
)


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
    """One method at one level. Accuracy in percent, as the paper reports it.

    `rank`: which group of its cost group it is in, from 1; None for the dense network and for controls. `kind`: what
    the method is; None for the dense network. `mark`: for a plugin's method, `reported` or `verified (by, when, n
    cells)`. `multiply_adds`: share of the dense network's that its masks leave, where that is not their density.
    """

    method: str
    level: int
    accuracy: Estimate
    early_stop_step: Estimate | None
    rank: int | None
    costs: Costs | None
    mark: str | None = None
    kind: Taxonomy | None = None
    control: bool = False
    multiply_adds: float | None = None

    @property
    def cost_group(self) -> str:
        """The cost group that it is ranked in, or `control`."""
        return "control" if self.control or self.kind is None else self.kind.cost_group

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
    """Measured methods at a level by cost group, best first, then the controls."""
    ranked = [found for group in COST_GROUPS for found in ranked_in(seen, group, level)]
    controls = [method for method in seen.protocol.all_methods if is_control(seen.protocol, method)]
    rest = [found for method in controls if (found := standing(seen, method, level))]
    return [*ranked, *sorted(rest, key=lambda s: (-s.accuracy.mean, s.method))]


def ranked_in(seen: Observations, group: CostGroup, level: int) -> list[Standing]:
    """The measured methods of a cost group at a level, from the highest mean down, with their ranks."""
    samples = samples_at(seen, level, ranked_methods(seen, group))
    metric = reported_metric(seen.protocol)
    groups = statistics.groups(samples, seen.protocol.statistics.alpha, seen.resolution(metric))
    ranks = [(method, rank) for rank, methods in enumerate(groups, start=1) for method in methods]
    return [found for method, rank in ranks if (found := standing(seen, method, level, rank))]


def samples_at(seen: Observations, level: int, methods: Sequence[str]) -> dict[str, dict[int, float]]:
    """Method -> seed -> accuracy in percent, as the paper reports it, of those that are measured at a level."""
    metric = reported_metric(seen.protocol)
    return {m: values for m in methods if level and (values := seen.by_seed(metric, (m, level)))}


def standing(seen: Observations, method: str, level: int, rank: int | None = None) -> Standing | None:
    """One method at one level; None if nothing is measured."""
    metric = reported_metric(seen.protocol)
    values = seen.by_seed(metric, (method, level))
    if not values:
        return None
    steps = list(seen.by_seed("early-stop-step", (method, level)).values())
    kind, own = None if method == DENSE else taxonomy(seen, method), seen.runs(method, level)
    return Standing(
        method,
        level,
        statistics.estimate(list(values.values()), seen.resolution(metric)),
        statistics.estimate(steps, seen.resolution("early-stop-step")) if steps else None,
        rank,
        _costs(own, kind),
        seen.marks.get(method),
        kind,
        method != DENSE and is_control(seen.protocol, method),
        None if method == DENSE else mean_share(seen.protocol, own),
    )


def _costs(records: Sequence[Record], kind: Taxonomy | None) -> Costs | None:
    found = [record.cost for record in records if record.cost is not None and record.status == "finished"]
    if not found:
        return None
    return Costs(
        fmean(c.mask_train_steps for c in found),
        fmean(c.train_steps for c in found),
        fmean(examples_scored(kind, c) for c in found),
        fmean(examples_scored(kind, c) + _mask_training(c.mask_train_examples, c, c.train_examples) for c in found),
        fmean(c.prune_seconds + _mask_training(c.mask_train_seconds, c, c.train_seconds) for c in found),
    )


def _mask_training(counted: float | None, cost: CostFacts, of_training: float) -> float:
    """What finding a mask by training took: as counted, else by the updates of the training after it."""
    return cost.mask_train_steps * _each(of_training, cost.train_steps) if counted is None else counted


def _each(total: float, steps: int) -> float:
    return total / steps if steps else 0.0


def other_measured(seen: Observations, shown: Sequence[int]) -> list[Standing]:
    """Everything measured at levels that are not shown, by method and level."""
    protocol = seen.protocol
    cells = {(method, level) for method, level, _ in seen.records if level and level not in shown}
    order = {name: place for place, name in enumerate(method_names(protocol))}
    ordered = sorted(cells, key=lambda c: (order.get(c[0], len(order)), c))
    return [s for method, level in ordered if (s := standing(seen, method, level))]


def finished_and_planned(seen: Observations) -> tuple[int, int]:
    """Runs that finished, and runs that the protocol plans."""
    total = sum(len(cells_of(seen.protocol, method)) for method in method_names(seen.protocol))
    return sum(record.status == "finished" for record in seen.every_record), total


def has_records(seen: Observations) -> bool:
    """Whether anything was measured of a protocol, well or not."""
    return bool(seen.failures) or finished_and_planned(seen)[0] > 0


def progress_words(seen: Observations) -> str:
    """How much of a protocol is measured."""
    finished, total = finished_and_planned(seen)
    return f"{finished:,} of {total:,} runs measured"


def spread(e: Estimate, alpha: float, digits: int = 2) -> str:
    """Mean with the half width of its interval, and the number of seeds."""
    if e.n < 2:
        return f"{e.mean:,.{digits}f} (1)"
    low, high = interval(e, 1 - alpha)
    return f"{e.mean:,.{digits}f} ± {(high - low) / 2:,.{digits}f} ({e.n})"


def standing_table(seen: Observations, found: Sequence[Standing], ranked: bool) -> tuple[list[str], list[list[str]]]:
    """Headings, and one row per standing; it begins with the cost group and the rank in it, or with the density if
    `ranked` is false. Columns of early stops and of multiply-adds are left out where no method has one.
    """
    stops, counted = any(s.early_stop_step for s in found), any(s.multiply_adds is not None for s in found)
    headings = ["cost group", "rank"] if ranked else [unit_name(seen.protocol)]
    headings += ["method", "accuracy %", "95 % interval", "seeds"]
    headings += ["multiply-adds %"] * counted + ["early-stop step"] * stops
    headings += ["mask steps", "training steps", "examples scored"]
    return headings, [_row(seen, s, stops, counted, ranked) for s in found]


def _row(seen: Observations, s: Standing, stops: bool, counted: bool, ranked: bool) -> list[str]:
    alpha = seen.protocol.statistics.alpha
    low, high = interval(s.accuracy, 1 - alpha)
    bounds = f"{number(low)} to {number(high)}" if s.accuracy.n > 1 else "needs 2 seeds"
    row = [s.cost_group, str(s.rank or "")] if ranked else [density_text(seen.protocol, s.level)]
    row += [s.label, number(s.accuracy.mean), bounds, str(s.accuracy.n)]
    if counted:
        row.append("" if s.multiply_adds is None else share_text(s.multiply_adds))
    if stops:
        row.append(spread(s.early_stop_step, alpha, 0).rpartition(" (")[0] if s.early_stop_step else "")
    costs = [s.costs.mask_train_steps, s.costs.train_steps, s.costs.prune_examples] if s.costs else []
    return row + ([f"{cost:,.0f}" for cost in costs] or ["", "", ""])
