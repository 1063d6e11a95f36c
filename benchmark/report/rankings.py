"""How methods compare, for leaderboard.md and the HTML report: by density, overall, by collapse, by cost. No torch.

By density: means with intervals, and ranks that separate only what a test separates. Overall: how often a method is
shown to be better or worse than another. A protocol that trains nothing ranks how far each method compresses before a
layer is empty, and which layer that is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean

from benchmark.claims import statistics
from benchmark.claims.observations import Observations, reported_metric, score_slope
from benchmark.claims.published import Published
from benchmark.claims.statistics import Estimate, interval
from benchmark.claims.wording import number
from benchmark.plugins.registry import declared_needs
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, axis_value, cells_of, density_text, method_names, unit_name
from benchmark.records.schema import Record


@dataclass(frozen=True)
class MaskStanding:
    """One method. `whole`: by seed, the largest measured level at which no layer is empty, 0 if every one empties;
    of the seeds that have every level wanted first.

    `first_empty`: layer -> seeds in which it is among the first to be empty. `unit_error`, `slope`: the largest error
    of conservation at hidden units, and the slope of log mean score on log size, both where the whole network was
    scored, meaned over runs; None where no such mask is measured. `examples`: scored for one mask.
    """

    method: str
    levels: tuple[int, ...]
    whole: dict[int, int]
    first_empty: dict[str, int]
    unit_error: float | None
    slope: float | None
    examples: float


def mask_standings(seen: Observations) -> list[MaskStanding]:
    """Every method that was measured, in the protocol's order."""
    found = {method for method, _, _ in seen.records}
    return [_standing(seen, method) for method in seen.protocol.all_methods if method in found]


def _standing(seen: Observations, method: str) -> MaskStanding:
    by_seed: dict[int, dict[int, Record]] = {}
    for (name, level, seed), group in sorted(seen.records.items()):
        if name == method and group[0].mask is not None:
            by_seed.setdefault(seed, {})[level] = group[0]
    empty = {s: {lv: r.mask.collapsed_layers for lv, r in own.items() if r.mask} for s, own in by_seed.items()}
    first = Counter(layer for own in empty.values() for layer in next((gone for gone in own.values() if gone), ()))
    wanted = _wanted(seen, method)
    every = [record for own in by_seed.values() for record in own.values()]
    once = [r for r in every if r.scores and r.scores.rounds == 1]
    slopes = [slope for r in once if (slope := score_slope(r)) is not None]
    errors = [r.scores.unit_error_largest for r in once if r.scores and r.scores.unit_error_largest is not None]
    order = [layer for layer in seen.protocol.pruning.layer_sizes if layer in first]
    return MaskStanding(
        method,
        tuple(sorted({level for own in empty.values() for level in own})),
        {
            seed: max((lv for lv, gone in own.items() if not gone), default=0)
            for seed, own in empty.items()
            if wanted <= own.keys()
        },
        {layer: first[layer] for layer in order},
        max(errors, default=None),
        fmean(slopes) if slopes else None,
        fmean(costs) if (costs := [r.cost.prune_examples for r in every if r.cost]) else 0.0,
    )


def _wanted(seen: Observations, method: str) -> set[int]:
    """The levels without which a seed's largest whole compression means nothing."""
    later = seen.protocol.pruning_method(method).later
    return set(seen.protocol.measured_levels(method)) - set(later)


def mask_table(seen: Observations, found: Sequence[MaskStanding]) -> tuple[list[str], list[list[str]]]:
    """Headings, and one row per method."""
    headings = [
        "method", "largest whole compression", "by seed", "densities", "empty first (seeds)", "slope of mean score",
        "largest error at units", "examples scored",
    ]  # fmt: skip
    return headings, [_mask_row(seen, standing) for standing in found]


def _mask_row(seen: Observations, s: MaskStanding) -> list[str]:
    exponents = [axis_value(seen.protocol, level) for level in s.whole.values()]
    first = ", ".join(f"{layer} ({count})" for layer, count in s.first_empty.items())
    return [
        s.method,
        f"10^{number(fmean(exponents))}" if exponents else "...",
        ", ".join(number(a) for a in exponents),
        str(len(s.levels)),
        first or "none",
        "" if s.slope is None else number(s.slope),
        "" if s.unit_error is None else f"{s.unit_error:.1g}",
        f"{s.examples:,.0f}",
    ]


def empty_table(seen: Observations, levels: Sequence[int]) -> tuple[list[str], list[list[str]]]:
    """Mean number of empty layers, methods by density; empty text where nothing is measured."""
    rows = []
    for method in seen.protocol.all_methods:
        cells = []
        for level in levels:
            values = list(seen.by_seed("empty-layers", (method, level)).values())
            cells.append(f"{number(fmean(values), 1)} ({len(values)})" if values else _planned(seen, method, level))
        rows.append([method, *cells])
    return ["method", *(density_text(seen.protocol, level) for level in levels)], rows


def _planned(seen: Observations, method: str, level: int) -> str:
    return "..." if level in seen.protocol.measured_levels(method) else ""


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


HEADINGS = (
    "rank",
    "method",
    "shown better",
    "shown worse",
    "rank interval",
    "places",
    "needs",
    "examples seen",
    "seconds",
)
EXPLAINED = (
    "Every density of a protocol that trains networks, at which at least two methods are measured, is a place. At "
    "each place every two methods are compared by paired t tests over seeds, with Holm's correction over all pairs of "
    "the place. Shown "
    "better, shown worse: comparisons with a significant winner, of all that the method is in. Methods are ranked by "
    "the difference of the two shares; equal differences share a rank. Rank interval: at each place a method may have "
    "any rank that no significant comparison excludes; shown are the means, over places, of the lowest and the highest "
    "of these, and of how many methods. Methods are measured at different places: read shares beside the number of "
    "places (of protocols). Examples seen and seconds: what it takes to find the mask, trainings that only serve for "
    "that and inputs that a pruner makes itself included, as means over places."
)
SOURCES = {
    "nothing": "no data",
    "inputs": "inputs",
    "labels": "labelled examples",
    "trained weights": "a training",
    "initial and trained weights": "a training",
}


@dataclass(frozen=True)
class Place:
    """One method at one protocol and density, among `methods`: comparisons won, lost, and its costs."""

    protocol: str
    methods: int
    won: int
    lost: int
    costs: Costs | None


@dataclass(frozen=True)
class Overall:
    """One method over its places. Shares are of comparisons; ranks are means over places. `needs` in words."""

    method: str
    rank: int
    won: float
    lost: float
    rank_low: float
    rank_high: float
    methods: float
    places: int
    protocols: int
    needs: str
    examples: float | None
    seconds: float | None


def overall(seen: Iterable[Observations], papers: Sequence[Published]) -> list[Overall]:
    """Every method that is measured beside another one, best first. A plugin's method stands with its mark."""
    places: dict[str, list[Place]] = {}
    needs: dict[str, set[str]] = {}
    for observations in (each for each in seen if each.protocol.trains):  # masks alone have no accuracy to rank by
        for level in shown_levels(observations.protocol, papers):
            for label, method, place in _places(observations, level):
                places.setdefault(label, []).append(place)
                needs.setdefault(label, set()).add(_needs(observations, method))
    net = {label: _share(found, sum(p.won - p.lost for p in found)) for label, found in places.items()}
    rows = [_overall_row(label, found, net, needs[label]) for label, found in places.items()]
    return sorted(rows, key=lambda row: (row.rank, row.method))


def _places(seen: Observations, level: int) -> list[tuple[str, str, Place]]:
    """(label, method, place) of every method at a level; none where fewer than two are measured."""
    samples = samples_at(seen, level)
    if len(samples) < 2:
        return []
    resolution = seen.resolution(reported_metric(seen.protocol))
    lower = statistics.beaten(samples, seen.protocol.statistics.alpha, resolution)
    found = []
    for method in samples:
        lost = sum(method in losers for losers in lower.values())
        here = standing(seen, method, level)
        assert here is not None  # it has a sample
        place = Place(seen.protocol.id, len(samples), len(lower[method]), lost, here.costs)
        found.append((here.label, method, place))
    return found


def _share(places: Sequence[Place], comparisons: int) -> float:
    return comparisons / sum(p.methods - 1 for p in places)


def _overall_row(label: str, places: Sequence[Place], net: dict[str, float], needs: set[str]) -> Overall:
    costs = [place.costs for place in places if place.costs]
    return Overall(
        method=label,
        rank=1 + sum(other > net[label] + 1e-9 for other in net.values()),
        won=_share(places, sum(p.won for p in places)),
        lost=_share(places, sum(p.lost for p in places)),
        rank_low=fmean(1 + p.lost for p in places),
        rank_high=fmean(p.methods - p.won for p in places),
        methods=fmean(p.methods for p in places),
        places=len(places),
        protocols=len({p.protocol for p in places}),
        needs=", ".join(sorted(needs)),
        examples=fmean(c.mask_examples for c in costs) if costs else None,
        seconds=fmean(c.mask_seconds for c in costs) if costs else None,
    )


def _needs(seen: Observations, method: str) -> str:
    """What data the mask of a method needs, in words; a control needs what its parent needs."""
    spec = seen.protocol.pruning_method(method)
    if spec.schedule.scores == "trained" or spec.schedule.rounds == "levels":
        return SOURCES["trained weights"]
    submission = seen.submissions.get(method)
    return SOURCES.get(submission.needs if submission else cached_needs(spec.pruner) or "", "unknown")


cached_needs = cache(declared_needs)


def overall_table(rows: Sequence[Overall]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows in words; the last two columns are costs."""
    return list(HEADINGS), [
        [
            str(row.rank),
            row.method,
            f"{100 * row.won:.0f} %",
            f"{100 * row.lost:.0f} %",
            f"{row.rank_low:.1f} to {row.rank_high:.1f} of {row.methods:.1f}",
            f"{row.places} ({row.protocols})",
            row.needs,
            "" if row.examples is None else f"{row.examples:,.0f}",
            "" if row.seconds is None else f"{row.seconds:,.1f}",
        ]
        for row in rows
    ]


def finished_and_planned(seen: Observations) -> tuple[int, int]:
    """Runs that finished, and runs that the protocol plans."""
    total = sum(len(cells_of(seen.protocol, method)) for method in method_names(seen.protocol))
    return sum(r.status == "finished" for group in seen.records.values() for r in group), total


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
    """Headings, and one row per standing; it begins with the rank, or with the density if `ranked` is false.

    The early-stop column is left out where no method has one.
    """
    stops = any(s.early_stop_step for s in found)
    headings = ["rank" if ranked else unit_name(seen.protocol), "method", "accuracy %", "95 % interval", "seeds"]
    headings += ["early-stop step"] * stops + ["mask steps", "training steps", "examples scored"]
    return headings, [_row(seen, s, stops, ranked) for s in found]


def _row(seen: Observations, s: Standing, stops: bool, ranked: bool) -> list[str]:
    alpha = seen.protocol.statistics.alpha
    low, high = interval(s.accuracy, 1 - alpha)
    bounds = f"{number(low)} to {number(high)}" if s.accuracy.n > 1 else "needs 2 seeds"
    row = [str(s.rank) if ranked else density_text(seen.protocol, s.level), s.label]
    row += [number(s.accuracy.mean), bounds, str(s.accuracy.n)]
    if stops:
        row.append(spread(s.early_stop_step, alpha, 0).rpartition(" (")[0] if s.early_stop_step else "")
    costs = [s.costs.mask_train_steps, s.costs.train_steps, s.costs.prune_examples] if s.costs else []
    return row + ([f"{cost:,.0f}" for cost in costs] or ["", "", ""])
