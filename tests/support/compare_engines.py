"""Records of the two arithmetics side by side, as docs/portable.md shows them.

    python tests/support/compare_engines.py [RESULTS]

Version 1 of `mnist1d/mlp` and of `lth/lenet-mnist` was trained by torch, version 2 by the portable kernels, with other
seeds and the same recipe. A value of a seed is its mean over a band of IMP's levels; seeds without every level of the
band are left out. The difference is Welch's; equivalent: both of two one-sided tests at 5 % put it inside the margin of
version 2.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

from tabulate import tabulate

from benchmark import protocols
from benchmark.claims.observations import Observations, Point, gathered, reported_metric
from benchmark.claims.statistics import Estimate, difference, estimate, interval, p_inside
from benchmark.protocols import Protocol
from benchmark.protocols.cells import density_text, unit_name
from benchmark.records.store import Store

ALPHA = 0.05
DENSE: tuple[Point, ...] = (("dense", 0),)
BANDS = {
    "mnist1d/mlp": ((1, 25), (26, 50), (51, 75), (76, 90), (91, 94), (95, 98)),
    "lth/lenet-mnist": ((1, 3), (4, 6), (7, 9), (10, 12), (13, 15), (16, 18)),
}
HEADINGS = ("torch, version 1", "kernels, version 2", "difference", "equivalent")


def main(results: Path) -> None:
    """Print a table for each protocol."""
    for name in BANDS:
        protocol = protocols.load(name)
        margin = protocol.statistics.margins.accuracy_points
        print(f"{name}, {reported_metric(protocol)}, percent; margin {margin} points\n")
        print(
            tabulate(
                list(rows(name, results)), (unit_name(protocol), *HEADINGS), tablefmt="github", disable_numparse=True
            ),
            end="\n\n",
        )


def rows(name: str, results: Path) -> Iterator[tuple[str, ...]]:
    """A row for the dense networks, and one for each band of levels that both versions have."""
    old, new = (gathered(protocols.load(key), [Store(results)]) for key in (f"{name}@1", name))
    margin = new.protocol.statistics.margins.accuracy_points
    for points in (DENSE, *(tuple(("imp", level) for level in range(a, b + 1)) for a, b in BANDS[name])):
        one, other = of_band(old, points), of_band(new, points)
        apart = difference(other, one)
        half = apart.mean - interval(apart, 1 - ALPHA)[0]
        same = p_inside(apart, -margin, margin) < ALPHA
        yield (
            densities(new.protocol, points),
            *(f"{e.mean:.2f} ({e.sd:.2f}, {e.n})" for e in (one, other)),
            f"{apart.mean:+.2f} ± {half:.2f}",
            "yes" if same else "not shown",
        )


def of_band(seen: Observations, points: Sequence[Point]) -> Estimate:
    """Mean over seeds of what a seed's network has on average over the points, in percent."""
    metric = reported_metric(seen.protocol)
    of_seeds = [[seen.value(metric, point, seed) for point in points] for seed in seen.protocol.seeds]
    whole = [[v for v in values if v is not None] for values in of_seeds if None not in values]
    return estimate([fmean(values) for values in whole])


def densities(protocol: Protocol, points: Sequence[Point]) -> str:
    """What the points keep, in the paper's unit, from the first to the last."""
    return " to ".join(dict.fromkeys(density_text(protocol, level) for _, level in (points[0], points[-1])))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("results"))
