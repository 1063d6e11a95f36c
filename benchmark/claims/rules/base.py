"""What every rule can do, and the table of rules.

A rule holds data from YAML (pydantic), knows the cells it needs and the protocols it fits, turns observations into
evidence, and says in words what it tests and what came out. Everything but `points`, `items` and `statement` has a
default here, which is that of a test on accuracies with one sample of seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self, get_args

from pydantic import model_validator

from benchmark.claims.evidence import Evidence, Item, Scale
from benchmark.claims.observations import ANALYSED, Observations
from benchmark.claims.rules.cells import Points, Sample, listed
from benchmark.claims.tables import Result, ResultTable, Source
from benchmark.claims.wording import metric_words, short_words, value_on_scale, window_on_scale
from benchmark.protocols import Protocol
from benchmark.records.schema import MaskMetric, Metric
from benchmark.utils.registry import Registry
from benchmark.utils.strict_model import Frozen

SAME_DENSITY = 2e-3  # relative: tables print three to six digits, neighbouring levels differ by 1 % and more
FIX_TARGET = "Name a row that may be a target, with its numbers, or list the claim under not_decided"


@dataclass(frozen=True)
class TargetTable:
    """The result table that a rule takes its numbers from: description, source and rows."""

    table: ResultTable
    source: Source
    rows: Sequence[Result]


class Rule(Frozen):
    """How one check of a claim is decided. Levels are the protocol's, 0 = dense."""

    rule: str
    metric: Metric

    orders: ClassVar[bool] = False
    """Whether it is an ordering, to which Holm's correction over the paper applies."""
    compares_runs: ClassVar[bool] = False
    """Whether it compares with published runs, which must be of the paper of its own protocol."""

    @model_validator(mode="after")
    def _points_of_analyses(self) -> Self:
        """Level 0 of an analysis is a record of its own, unlike that of a pruning method."""
        if self.is_analysed:
            for name in type(self).model_fields:
                if isinstance(points := getattr(self, name), Points) and not points.of_analysis:
                    self.__dict__[name] = points.model_copy(update={"of_analysis": True})  # before anybody sees it
        return self

    def unit(self, observations: Observations) -> str:
        """The unit of its items where their scale says none."""
        return observations.unit(self.metric) if self.is_analysed else ""

    @property
    def is_analysed(self) -> bool:
        """Whether its metric is a number of an analysis."""
        return self.metric.startswith(ANALYSED)

    # What it needs.

    @property
    def points(self) -> tuple[Points, ...]:
        """All that is measured in the claim's own protocol and named by the rule; not the dense networks it implies."""
        raise NotImplementedError

    @property
    def other_protocol(self) -> tuple[str, Points] | None:
        """The other protocol that the rule looks into, by id, and what it needs of it."""
        return None

    @property
    def needed_cells(self) -> tuple[tuple[str, int], ...]:
        """(method, level) pairs of the claim's own protocol that must be measured in a seed before the rule can use it;
        sorted, each once."""
        return tuple(sorted({cell for points in self.points for cell in points.cells}))

    def misfits(self, protocol: Protocol) -> Iterator[str]:
        """Why the claim's own protocol cannot decide the rule, beyond its methods and levels; nothing if it can."""
        if self.is_analysed or protocol.measures == "analysis":
            yield from self._analysis_misfits(protocol)
        elif protocol.trains == (self.metric in get_args(MaskMetric)):
            kind = "trains networks" if protocol.trains else "trains nothing"
            yield f"{protocol.id} {kind}, so it has no {self.metric}"
        elif self.metric.startswith("early-stop") and protocol.evaluation.early_stop == "none":
            yield f"{protocol.id} has no early stopping, so it has no {self.metric}"

    def _analysis_misfits(self, protocol: Protocol) -> Iterator[str]:
        if protocol.measures != "analysis" or not self.is_analysed:
            yield f"{protocol.id} measures {protocol.measures}, so it has no {self.metric}"
        elif (name := self.metric.removeprefix(ANALYSED)) not in (known := protocol.statistics.margins.analysed):
            yield f"{protocol.id} has no margin for {name}, only for {', '.join(known) or 'nothing'}"

    # The published numbers behind it.

    @property
    def target_table(self) -> str | None:
        """Name of the paper's result table that its numbers are taken from; None if they stand in the rule alone."""
        return None

    def target_misfit(self, target: TargetTable, protocol: Protocol) -> tuple[str, str] | None:
        """(cause, fix) if its table does not hold what the rule says; None if it does."""
        return None

    def published_runs(self, protocol: Protocol) -> dict[int, tuple[float, ...]]:
        """Level -> published accuracies in percent, one per run, where it compares with a whole curve.

        Raises BadInput if the paper has no such table.
        """
        return {}

    @property
    def published_sample(self) -> Sample | None:
        """The published mean that every level named is compared with, if it is such a rule."""
        return None

    # Evaluation.

    @property
    def scale(self) -> Scale:
        """What the numbers of its items are."""
        if self.is_analysed:
            return "analysed"
        return "log-ratio" if self.metric == "early-stop-step" else "points"

    def margin(self, protocol: Protocol) -> float:
        """One margin of the protocol on the rule's scale: the unit in which distances of different rules compare.

        Half a window of a rule that is open on neither side may be wider, where published runs spread.
        """
        margins = protocol.statistics.margins
        fixed: dict[Scale, float] = {
            "points": margins.accuracy_points,
            "log-ratio": math.log1p(margins.ratio),
            "slope": margins.ratio,
            "rounds": float(max(1, margins.density_rounds)),
            "share": 0.5,  # from half of the seeds to all of them
            "analysed": margins.analysed.get(self.metric.removeprefix(ANALYSED), 1.0),
        }
        return fixed.get(self.scale, 1.0)

    def items(self, observations: Observations, seeds: Sequence[int]) -> tuple[Item, ...]:
        """What is tested, over seeds (one at least) that have every cell needed.

        Raises BadInput if published numbers do not fit the protocol.
        """
        raise NotImplementedError

    def evaluate(self, observations: Observations, others: Mapping[str, Observations] | None = None) -> Evidence:
        """Evidence from the seeds that have everything it needs.

        `others`: observations of other protocols by id. Raises KeyError if one that the rule looks into is not there.
        """
        cells = self.needed_cells
        seeds = observations.complete_seeds(self.metric, cells)
        items = self.items(observations, seeds) if seeds else ()
        return Evidence(items, self.scale, seeds, observations.failed(cells), self.orders)

    # Words.

    def statement(self, protocol: Protocol) -> str:
        """What is tested, in one sentence."""
        raise NotImplementedError

    def window_text(self, item: Item, protocol: Protocol) -> str:
        """Where the quantity of an item must lie."""
        return window_on_scale(item, self.scale, protocol)

    def measured_text(self, evidence: Evidence, protocol: Protocol) -> str:
        """What was measured: the deciding quantity with its interval."""
        if not evidence.is_known:
            return "not measured"
        item = evidence.weakest
        text = value_on_scale(item, self.scale, protocol.statistics.alpha)
        if len(evidence.items) > 1:
            text += f" {item.where}, weakest of {len(evidence.items)}"
        return f"{self.quantity}: {text}"

    @property
    def quantity(self) -> str:
        """Short name of what is measured."""
        return short_words(self.metric)

    @property
    def metric_name(self) -> str:
        """The metric in words."""
        return metric_words(self.metric)


class RunsRule(Rule):
    """A rule that compares cells `of` a method with published runs, one by one, in the result table `table`."""

    of: Points
    table: str

    compares_runs = True

    @property
    def points(self) -> tuple[Points, ...]:
        """The cells that are compared."""
        return (self.of,)

    def runs_at_levels(
        self, protocol: Protocol, rows: Iterable[tuple[Result, tuple[float, ...]]]
    ) -> dict[int, tuple[float, ...]]:
        """Level, of those named -> the numbers given with the rows of its density; a level without any is not in it.

        A mask has a whole number of weights, which is more than a table's last digit off where 15 remain, so a density
        may be one weight off as well.
        """
        runs: dict[int, tuple[float, ...]] = {}
        weight = 1 / sum(protocol.pruning.layer_sizes.values())
        wanted = {level: protocol.level_table[level].density for level in listed(self.of.levels)}
        for row, values in rows:
            for level, density in wanted.items():
                if row.density is not None and math.isclose(row.density, density, rel_tol=SAME_DENSITY, abs_tol=weight):
                    runs[level] = runs.get(level, ()) + values
        return {level: values for level, values in runs.items() if values}

    @property
    def target_table(self) -> str | None:
        """The table of the published runs."""
        return self.table


RULES: Registry[type[Rule]] = Registry(
    "rule",
    "benchmark.claims.rules",
    {
        "value": "value",
        "curve": "value",
        "difference": "compare",
        "between": "compare",
        "ratio": "compare",
        "bound": "bound",
        "ordering": "compare",
        "growing-gain": "gain",
        "largest-gain": "shape",
        "peak": "shape",
        "threshold": "shape",
        "best-window": "window",
        "crossing": "window",
        "layer-share": "layer_share",
        "emptied": "collapse",
        "first-empty": "collapse",
        "collapse": "collapse",
        "connected": "collapse",
        "disconnection": "collapse",
        "layer-density": "layer_density",
        "score-property": "score_property",
    },
)
"""Every rule by the word that `rule:` gives in a claims file -> its module."""
