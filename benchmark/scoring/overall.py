"""All methods over all protocols: how often each is shown to be better or worse, and what its masks cost. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean

from benchmark import statistics
from benchmark.isolation.source import declared_needs
from benchmark.published import Published
from benchmark.scoring.observations import Observations, reported_metric
from benchmark.scoring.standings import Costs, samples_at, shown_levels, standing

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
SOURCES = {"nothing": "no data", "inputs": "inputs", "labels": "labelled examples", "trained weights": "a training"}


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
    rows = [_row(label, found, net, needs[label]) for label, found in places.items()]
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


def _row(label: str, places: Sequence[Place], net: dict[str, float], needs: set[str]) -> Overall:
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
