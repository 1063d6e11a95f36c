"""Evidence apart from paired seeds of one protocol: two protocols side by side, and counts that need no run."""

from __future__ import annotations

import math

from benchmark import statistics
from benchmark.published.rules import Between, LayerShare
from benchmark.scoring.evidence import Evidence, Item
from benchmark.scoring.observations import Observations
from benchmark.scoring.samples import accuracy_margin, averages, where


def between_protocols(rule: Between, seen: Observations, other: Observations) -> Evidence:
    """Not paired: each side has its own seeds, and the margin is the wider of the two protocols'."""
    samples = [(seen, rule.higher.cells), (other, rule.lower.cells)]
    seeds = [side.complete_seeds(rule.metric, cells) for side, cells in samples]
    failures = tuple(text for side, cells in samples for text in side.failed(cells))
    if not all(seeds):
        return Evidence((), "points", (), failures)
    margin = max(accuracy_margin(side, rule.metric, None) for side, _ in samples)
    here, there = (
        statistics.estimate(averages(side, rule.metric, cells, own), side.resolution(rule.metric))
        for (side, cells), own in zip(samples, seeds, strict=True)
    )
    high = rule.published + margin if rule.bound == "equal" else math.inf
    gap = statistics.difference(here, there)
    item = Item(where(seen, rule.higher.cells), gap, rule.published - margin, high)
    return Evidence((item,), "points", min(seeds, key=len), failures)


def counted_share(rule: LayerShare, seen: Observations) -> Evidence:
    """Of the protocol's layers, whatever was measured."""
    sizes = seen.protocol.pruning.layer_sizes
    share = 100 * sum(sizes[layer] for layer in rule.layers) / sum(sizes.values())
    half = rule.digit / 2
    item = Item("", statistics.Estimate(share, 0.0, 1.0, 1), rule.published - half, rule.published + half)
    return Evidence((item,), "percent", (), (), exact=True)
