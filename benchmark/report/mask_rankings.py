"""How far methods compress before a layer is empty, and which layer, where nothing is trained. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmark.claims.observations import Observations, score_slope
from benchmark.claims.wording import number
from benchmark.protocols.cells import axis_value, density_text
from benchmark.records.schema import Record
from benchmark.report.multiply_adds import mean_share, share_text
from benchmark.report.taxonomy import examples_scored, taxonomy


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
    wanted, kind = _wanted(seen, method), taxonomy(seen, method)
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
        fmean(costs) if (costs := [examples_scored(kind, r.cost) for r in every if r.cost]) else 0.0,
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

    def text(method: str, level: int) -> str:
        values = list(seen.by_seed("empty-layers", (method, level)).values())
        return f"{number(fmean(values), 1)} ({len(values)})" if values else _planned(seen, method, level)

    return _by_density(seen, levels, text)


def share_table(seen: Observations, levels: Sequence[int]) -> tuple[list[str], list[list[str]]]:
    """Multiply-adds that masks leave, methods by density; empty text where nothing is measured."""

    def text(method: str, level: int) -> str:
        share = mean_share(seen.protocol, seen.runs(method, level))
        return "" if share is None else share_text(share)

    return _by_density(seen, levels, text)


def _by_density(
    seen: Observations, levels: Sequence[int], text: Callable[[str, int], str]
) -> tuple[list[str], list[list[str]]]:
    rows = [[method, *(text(method, level) for level in levels)] for method in seen.protocol.all_methods]
    return ["method", *(density_text(seen.protocol, level) for level in levels)], rows


def _planned(seen: Observations, method: str, level: int) -> str:
    return "..." if level in seen.protocol.measured_levels(method) else ""
