"""What the charts show, as numbers: curves over levels, published values, learning curves, densities by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from statistics import fmean

import numpy as np

from benchmark.claims import statistics
from benchmark.claims.observations import Observations
from benchmark.claims.published import Published
from benchmark.claims.rules.base import Rule, RunsRule
from benchmark.claims.rules.cells import Points, Sample
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, Cell, axis_value, density_text
from benchmark.records.schema import Metric, Record
from benchmark.records.store import Store
from benchmark.utils.npz import unpack

# A page may hold hundreds of learning curves: the more there are, the fewer steps each shows.
MOST_STEPS, FEWEST_STEPS = 48, 12  # points of a curve, evenly on a log axis
MOST_POINTS = 3000  # of all learning curves of a page, about 35 bytes each with its range over seeds


@dataclass(frozen=True)
class CurvePoint:
    """One method at one level. `low`, `high`: 1 - alpha t interval over seeds, None with one seed."""

    level: int
    x: float
    density: str
    mean: float
    low: float | None
    high: float | None
    values: tuple[float, ...]


@dataclass(frozen=True)
class Line:
    """A measured curve over levels; the dense network has one place, at level 0."""

    method: str
    places: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class PublishedLine:
    """Published values of a method: mean, and the lowest and highest of what was printed or a standard deviation."""

    method: str
    places: tuple[CurvePoint, ...]
    spread: str


@dataclass(frozen=True)
class OverSeeds:
    """Values at some steps: the mean over seeds, the lowest and the highest. Empty where nothing was looked at."""

    mean: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True)
class Learning:
    """A learning curve over seeds, at steps at which every seed was looked at."""

    method: str
    density: str
    seeds: int
    steps: tuple[int, ...]
    test_steps: tuple[int, ...]
    test_accuracy: OverSeeds
    validation_loss: OverSeeds


@dataclass(frozen=True)
class LayerMap:
    """Densities kept in each layer, averaged over runs: one row per layer, one column per level."""

    method: str
    layers: tuple[str, ...]
    densities: tuple[str, ...]
    kept: tuple[tuple[float, ...], ...]
    sizes: tuple[int, ...]


def line(seen: Observations, metric: Metric, method: str) -> Line:
    """The measured curve of a method; no places if nothing is measured."""
    levels = [0] if method == DENSE else sorted({level for name, level, _ in seen.records if name == method})
    found = (place(seen, metric, method, level) for level in levels)
    return Line(method, tuple(p for p in found if p is not None))


def place(seen: Observations, metric: Metric, method: str, level: int) -> CurvePoint | None:
    """One method at one level; None if no run of it has the metric."""
    values = tuple(seen.by_seed(metric, (method, level)).values())
    if not values:
        return None
    protocol = seen.protocol
    estimate = statistics.estimate(values, seen.resolution(metric))
    bounds: tuple[float | None, float | None] = (None, None)
    if estimate.n > 1:
        bounds = statistics.interval(estimate, 1 - protocol.statistics.alpha)
    return _place(protocol, level, estimate.mean, *bounds, values)


def published_lines(protocol: Protocol, metric: Metric, papers: Sequence[Published]) -> list[PublishedLine]:
    """Whole published curves, and single published values, of this metric."""
    claims = [claim for paper in papers for claim in paper.claims if claim.protocol == protocol.id]
    rules = [rule for claim in claims for rule in claim.checks if rule.metric == metric]
    curves = [(rule, _everywhere(rule, protocol).published_runs(protocol)) for rule in rules]
    lines = [_published_curve(protocol, rule.points[0].method, runs) for rule, runs in curves if runs]
    known = {line.method for line in lines}
    single: dict[str, list[tuple[Points, Sample]]] = {}
    for rule in rules:
        if rule.published_sample and rule.points[0].method not in known:
            single.setdefault(rule.points[0].method, []).append((rule.points[0], rule.published_sample))
    return [*lines, *(_published_values(protocol, method, own) for method, own in single.items())]


def _everywhere(rule: Rule, protocol: Protocol) -> Rule:
    """A rule on published runs as if it were of every level of its method: what was published is shown even where the
    runs differ too much to be compared with."""
    if not isinstance(rule, RunsRule) or rule.of.method == DENSE:
        return rule
    levels = protocol.measured_levels(rule.of.method)
    return rule.model_copy(update={"of": rule.of.model_copy(update={"levels": levels})})


def _published_curve(protocol: Protocol, method: str, runs: Mapping[int, tuple[float, ...]]) -> PublishedLine:
    places = [_place(protocol, level, fmean(v), min(v), max(v), v) for level, v in sorted(runs.items())]
    return PublishedLine(method, tuple(places), "lowest to highest trial")


def _published_values(protocol: Protocol, method: str, samples: Sequence[tuple[Points, Sample]]) -> PublishedLine:
    """Single published values of a method; one place a level, that of the first rule that names it."""
    places: dict[int, CurvePoint] = {}
    spread = False
    for points, sample in samples:
        estimate, sd = sample.estimate()
        half, spread = sd or 0.0, spread or bool(sd)
        raw = sample.values or (estimate.mean,)
        for _, level in points.cells:
            place = _place(protocol, level, estimate.mean, estimate.mean - half, estimate.mean + half, raw)
            places.setdefault(level, place)
    words = "± 1 standard deviation" if spread else "no spread published"
    return PublishedLine(method, tuple(places[level] for level in sorted(places)), words)


def _place(
    protocol: Protocol, level: int, mean: float, low: float | None, high: float | None, values: Sequence[float]
) -> CurvePoint:
    return CurvePoint(level, axis_value(protocol, level), density_text(protocol, level), mean, low, high, tuple(values))


def steps_shown(curves: int) -> int:
    """How many steps each of a page's learning curves shows, for a page of bounded size: 12 to 48."""
    return min(MOST_STEPS, max(FEWEST_STEPS, MOST_POINTS // max(1, curves)))


def learning(
    store: Store, seen: Observations, method: str, level: int, most_steps: int = MOST_STEPS
) -> Learning | None:
    """Learning curve over the finished first draws of a cell, of at most `most_steps` steps; None if there is none
    with curves."""
    protocol = seen.protocol
    paths = [store.curves_path(protocol, cell) for cell in _finished(seen, method, level)]
    curves = [unpack(path) for path in paths if path.exists()]
    if not curves:
        return None
    test_steps = _common(curves, "test_steps", most_steps)
    if not test_steps:  # nothing is trained behind the mask
        return None
    steps = _common(curves, "steps", most_steps) if all("validation_loss" in c for c in curves) else []
    return Learning(
        method,
        density_text(protocol, level),
        len(curves),
        tuple(steps),
        tuple(test_steps),
        _over_seeds(curves, "test_steps", "test_accuracy_percent", test_steps),
        _over_seeds(curves, "steps", "validation_loss", steps) if steps else OverSeeds(),
    )


def _finished(seen: Observations, method: str, level: int) -> Iterator[Cell]:
    for (name, at, seed), group in sorted(seen.records.items(), key=lambda item: item[0]):
        if (name, at) == (method, level) and any(r.status == "finished" and not r.cell.draw for r in group):
            yield Cell(method, level, seed)


def _common(curves: Sequence[dict[str, np.ndarray]], name: str, most: int) -> list[int]:
    """At most `most` of the steps that all curves have, evenly on a log axis; the first and the last one stay."""
    shared: np.ndarray = reduce(np.intersect1d, (curve[name] for curve in curves))
    shared = shared[shared > 0]  # a log axis has no place for the start
    if len(shared) <= most:
        return [int(step) for step in shared]
    wanted = np.geomspace(shared[0], shared[-1], most)
    places = np.unique(np.minimum(np.searchsorted(shared, wanted), len(shared) - 1))
    return [int(step) for step in shared[places]]


def _over_seeds(curves: Sequence[dict[str, np.ndarray]], axis: str, name: str, steps: Sequence[int]) -> OverSeeds:
    rows = np.asarray([curve[name][np.searchsorted(curve[axis], steps)] for curve in curves])
    parts = (rows.mean(axis=0), rows.min(axis=0), rows.max(axis=0))
    return OverSeeds(*(tuple(float(f"{value:.4g}") for value in part) for part in parts))


def layer_map(seen: Observations, method: str) -> LayerMap | None:
    """Weights kept by layer of a method's masks; None if no record holds a mask."""
    by_level: dict[int, list[Record]] = {}
    for (name, level, _), group in seen.records.items():
        if name == method:
            by_level.setdefault(level, []).extend(r for r in group if r.mask is not None)
    levels = sorted(level for level, group in by_level.items() if group)
    if not levels:
        return None
    sizes = seen.protocol.pruning.layer_sizes
    kept = tuple(
        tuple(fmean(r.mask.layers[layer].kept for r in by_level[level] if r.mask) for level in levels)
        for layer in sizes
    )
    densities = tuple(density_text(seen.protocol, level) for level in levels)
    return LayerMap(method, tuple(sizes), densities, kept, tuple(sizes.values()))
