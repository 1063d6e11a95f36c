"""How often a method is shown to be better or worse than another of its cost group, over all densities. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmark.claims import statistics
from benchmark.claims.observations import Observations, reported_metric
from benchmark.claims.published import Published
from benchmark.report.rankings import Costs, samples_at, shown_levels, standing
from benchmark.report.taxonomy import COST_GROUPS, CostGroup, ranked_methods

HEADINGS = (
    "cost group", "rank", "method", "shown better", "shown worse", "rank interval", "places", "examples seen",
    "seconds",
)  # fmt: skip
EXPLAINED = (
    "Methods are compared within their cost group; controls are not ranked. Every density of a protocol that trains "
    "networks, at which at least two methods of a cost group are measured, is a place. At each place every two of them "
    "are compared by paired t tests over seeds, with Holm's correction over all pairs of the place. Shown "
    "better, shown worse: comparisons with a significant winner, of all that the method is in. Methods are ranked by "
    "the difference of the two shares; equal differences share a rank. Rank interval: at each place a method may have "
    "any rank that no significant comparison excludes; shown are the means, over places, of the lowest and the highest "
    "of these, and of how many methods. Methods are measured at different places: read shares beside the number of "
    "places (of protocols). Examples seen and seconds: what it takes to find the mask, trainings that only serve for "
    "that included, inputs that a pruner makes itself not, as means over places."
)


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
    """One method over its places. Shares are of comparisons; ranks, in its cost group, are means over places."""

    group: CostGroup
    method: str
    rank: int
    won: float
    lost: float
    rank_low: float
    rank_high: float
    methods: float
    places: int
    protocols: int
    examples: float | None
    seconds: float | None


def overall(seen: Iterable[Observations], papers: Sequence[Published]) -> list[Overall]:
    """Every method that is measured beside another one of its cost group, by group, best first. A plugin's method
    stands with its mark."""
    trained = [each for each in seen if each.protocol.trains]  # masks alone have no accuracy to rank by
    return [row for group in COST_GROUPS for row in _of_group(group, trained, papers)]


def _of_group(group: CostGroup, seen: Sequence[Observations], papers: Sequence[Published]) -> list[Overall]:
    places: dict[str, list[Place]] = {}
    for observations in seen:
        methods = ranked_methods(observations, group)
        for level in shown_levels(observations.protocol, papers):
            for label, place in _places(observations, methods, level):
                places.setdefault(label, []).append(place)
    net = {label: _share(found, sum(p.won - p.lost for p in found)) for label, found in places.items()}
    rows = [_overall_row(group, label, found, net) for label, found in places.items()]
    return sorted(rows, key=lambda row: (row.rank, row.method))


def _places(seen: Observations, methods: Sequence[str], level: int) -> list[tuple[str, Place]]:
    """(label, place) of every measured one of the methods at a level; none where there are fewer than two."""
    samples = samples_at(seen, level, methods)
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
        found.append((here.label, place))
    return found


def _share(places: Sequence[Place], comparisons: int) -> float:
    return comparisons / sum(p.methods - 1 for p in places)


def _overall_row(group: CostGroup, label: str, places: Sequence[Place], net: Mapping[str, float]) -> Overall:
    costs = [place.costs for place in places if place.costs]
    return Overall(
        group=group,
        method=label,
        rank=1 + sum(other > net[label] + 1e-9 for other in net.values()),
        won=_share(places, sum(p.won for p in places)),
        lost=_share(places, sum(p.lost for p in places)),
        rank_low=fmean(1 + p.lost for p in places),
        rank_high=fmean(p.methods - p.won for p in places),
        methods=fmean(p.methods for p in places),
        places=len(places),
        protocols=len({p.protocol for p in places}),
        examples=fmean(c.mask_examples for c in costs) if costs else None,
        seconds=fmean(c.mask_seconds for c in costs) if costs else None,
    )


def overall_table(rows: Sequence[Overall]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows in words; the last two columns are costs."""
    return list(HEADINGS), [
        [
            row.group,
            str(row.rank),
            row.method,
            f"{100 * row.won:.0f} %",
            f"{100 * row.lost:.0f} %",
            f"{row.rank_low:.1f} to {row.rank_high:.1f} of {row.methods:.1f}",
            f"{row.places} ({row.protocols})",
            "" if row.examples is None else f"{row.examples:,.0f}",
            "" if row.seconds is None else f"{row.seconds:,.1f}",
        ]
        for row in rows
    ]
