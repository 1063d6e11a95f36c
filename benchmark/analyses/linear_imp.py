"""Iterative magnitude pruning of linear models under exact gradient flow: which features go, and in which order.

Elesedy, Kanade & Teh (arXiv 2007.08243) give conditions under which the features with the smallest projection onto the
data go. Their conditions could not be read: what is checked is derived in docs/recovery.md, not the paper's theorem.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from benchmark.analyses.analysis import Analysis, Findings
from benchmark.analyses.linear.designs import Problem, drawn
from benchmark.analyses.linear.flow import (
    Array,
    order_of_elimination,
    order_of_imp,
    order_of_one_shot,
    order_of_projection,
)
from benchmark.analyses.setting import Setting
from benchmark.protocols.analysis import ANALYSES
from benchmark.utils.errors import BadInput

DRAWS = 200  # random problems of a seed


@ANALYSES.register("linear-imp")
class LinearImp(Analysis):
    """Shares of `DRAWS` random problems, in percent, in which pruning goes as stated.

    The protocol's network says how many features there are ([d, 1]), the cell's level how many are left. `design`,
    `rows`, `correlation`, `sparse` (whether as many coefficients are nonzero as features are left, or all),
    `noise`: see `linear.designs.drawn`. `time`: of each flow, infinite by default. `spread`: standard deviation of the
    initial weights, to which survivors are rewound.

    `elimination`: the whole order is that of backward elimination by least squares; of independent features only.
    `projection`: the whole order is by rising projection onto the data; `smallest_projection`: the first one to go has
    the smallest. `start_matters`: other initial weights leave other features. `recovered`, `one_shot_recovered`: what
    is left is the target's support, after all rounds and after one.
    """

    paper = "Elesedy, Kanade & Teh 2020, Lottery Tickets in Linear Models, arXiv 2007.08243"
    units: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("elimination", "projection", "smallest_projection", "start_matters", "recovered", "one_shot_recovered"),
        "percent",
    )

    def __init__(
        self,
        design: str = "orthogonal",
        rows: int = 80,
        correlation: float = 0.0,
        sparse: bool = False,
        noise: float = 1.0,
        time: float = math.inf,
        spread: float = 0.3,
    ) -> None:
        if rows < 1 or time <= 0 or min(spread, noise) < 0:
            raise ValueError("rows is 1 at least, time above 0, spread and noise not below 0")
        self.design, self.rows, self.correlation = design, rows, correlation
        self.sparse, self.noise, self.time, self.spread = sparse, noise, time, spread

    def measure(self, setting: Setting) -> Findings:
        """The shares. Problems are the same for every analysis of the seed that draws them alike."""
        widths: tuple[int, ...] = getattr(setting.protocol.network, "widths", ())
        if len(widths) != 2 or widths[1] != 1:
            raise BadInput(f"{setting.protocol.id}: network", "is no linear model of one output", "Use widths [d, 1]")
        keep = sum(setting.counts.values())
        sparsity = keep if self.sparse else 0
        shape = (self.rows, widths[0])
        rng = np.random.default_rng(setting.rng("problems").initial_seed())
        seen: dict[str, int] = {}
        for number in range(DRAWS):
            problem = drawn(rng, self.design, shape, correlation=self.correlation, sparsity=sparsity, noise=self.noise)
            starts = self.spread * rng.standard_normal((2, widths[0]))
            for name, holds in self._held(problem, starts, keep).items():
                seen[name] = seen.get(name, 0) + holds
            setting.progress(number + 1, DRAWS)
        return Findings({name: 100 * count / DRAWS for name, count in seen.items()})

    def _held(self, problem: Problem, starts: Array, keep: int) -> dict[str, bool]:
        """What holds of one problem. `starts`: (2, d)."""
        features, target = problem.features, problem.target
        count = features.shape[1]
        order = order_of_imp(features, target, starts[0], self.time, keep)
        projection = order_of_projection(features, target, keep)
        other = order_of_imp(features, target, starts[1], self.time, keep)
        held = {
            "projection": order == projection,
            "smallest_projection": order[:1] == projection[:1],
            "start_matters": set(order) != set(other),
        }
        if count <= len(features):
            held["elimination"] = order == order_of_elimination(features, target, keep)
        if self.sparse:
            once = order_of_one_shot(features, target, starts[0], self.time, keep)
            held["recovered"] = set(range(count)) - set(order) == problem.support
            held["one_shot_recovered"] = set(range(count)) - set(once) == problem.support
        return held
