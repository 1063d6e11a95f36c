"""How often the claims on SynFlow's trained panels are confirmed where the authors' own runs are the truth. The table
of docs/statistics.md is what this prints:

    python tests/support/panel_worlds.py [--draws 100]

A world has, at every compression of Fig. 6, the mean and the standard deviation of the three released runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

import click
import numpy as np
from lenet_worlds import World
from tabulate import tabulate

from benchmark import protocols
from benchmark.claims import papers
from benchmark.claims.observations import Observations
from benchmark.claims.published import Published
from benchmark.claims.rules.value import Curve
from benchmark.claims.table_reader import results
from benchmark.claims.verdicts import decide_paper
from benchmark.protocols import Protocol
from benchmark.protocols.cells import method_names

PANELS = [
    f"synflow/{network}-{data}"
    for data in ("cifar10", "cifar100", "tiny")
    for network in ("vgg11", "vgg16", "resnet18", "wide-resnet18")
]


def paper_of(protocol: Protocol) -> Published:
    """The paper with the claims on this panel alone."""
    paper = papers.load("synflow")
    return paper.model_copy(update={"claims": tuple(c for c in paper.claims if c.protocol == protocol.id)})


def released(protocol: Protocol) -> dict[tuple[str, int], tuple[float, ...]]:
    """(method, level) -> accuracies of the released runs of this panel; the dense network is random's at 10^0."""
    curves = (k for c in paper_of(protocol).claims for k in c.checks if isinstance(k, Curve))
    setting = next(curve.setting for curve in curves)
    rows = [r for r in results("synflow", "figure-6") if r.setting == setting]
    levels = {round(4 * r.x): r.x for r in rows if r.x is not None}
    by_x = {(r.method, r.x): r.values for r in rows}
    found = {(m, lv): by_x[m, x] for m in method_names(protocol) if m != "dense" for lv, x in levels.items() if lv}
    return found | {("dense", 0): by_x["random", 0.0]}


class PanelWorld(World):
    """Every planned run of a panel, drawn around the released ones; rounded as records are."""

    def __init__(self, protocol: Protocol, rng: np.random.Generator, seeds: int) -> None:
        Observations.__init__(self, protocol, [])
        self._first = protocol.seeds[:seeds]
        self._drawn = {}
        for point, runs in released(protocol).items():
            drawn = fmean(runs) + stdev(runs) * rng.standard_normal(len(protocol.seeds))
            self._drawn["best-accuracy", point] = np.round(drawn, 2).tolist()


def rates(panel: str, seeds: int, draws: int) -> dict[str, tuple[float, float]]:
    """Claim -> shares of worlds in which it is said to be reproduced, and to deviate or be contradicted."""
    protocol = protocols.load(panel)
    paper, rng = paper_of(protocol), np.random.default_rng(seeds)
    worlds = [PanelWorld(protocol, rng, seeds) for _ in range(draws)]
    found = [{d.claim: d.verdict for d in decide_paper(paper, {panel: world})} for world in worlds]
    words: Sequence[tuple[str, ...]] = (("reproduced",), ("deviates", "contradicted"))
    return {c.id: (_share(found, c.id, words[0]), _share(found, c.id, words[1])) for c in paper.claims}


def _share(found: Sequence[dict[str, str]], claim: str, words: tuple[str, ...]) -> float:
    return sum(verdicts[claim] in words for verdicts in found) / len(found)


@click.command()
@click.option("--draws", default=100, show_default=True, help="Worlds a number.")
def main(draws: int) -> None:
    """Print the table: by kind of claim and number of seeds, mean shares over the panels."""
    rows = []
    for panel in PANELS:
        by_seeds = {n: rates(panel, n, draws) for n in (3, 5, 8, 10)}
        for kind in ("synflow-c3", "synflow-c4", "synflow-c5", "synflow-fig6"):
            mine = [claim for claim in by_seeds[3] if claim.startswith(kind)]
            if mine:
                shares = [np.mean([by_seeds[n][claim][i] for claim in mine]) for n in by_seeds for i in (0, 1)]
                rows.append([kind, panel.removeprefix("synflow/"), *shares])
    headings = ["claims", "panel", *(f"{word} {n}" for n in (3, 5, 8, 10) for word in ("rep", "dev"))]
    print(tabulate(rows, headings, floatfmt=".2f", tablefmt="github"))


if __name__ == "__main__":
    main()
