"""What kind of method one is, from what it declares: the four questions that the field's surveys sort methods by.

When is the mask decided, from what data, what are the weights that the final training starts from, and does the mask
move? Read from the schedule in the protocol, the pruner's `needs` and the hook; nothing is run.
tests/report/test_taxonomy.py holds the answers against what methods do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from benchmark.claims.observations import Observations
from benchmark.plugins.registry import counts_left, declared_needs, moves_masks, reads_data
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE
from benchmark.protocols.methods import ControlSpec, MethodSpec, Schedule
from benchmark.protocols.needs import OF_TRAINED
from benchmark.protocols.transfer import MasksFrom, Reset
from benchmark.records.schema import CostFacts

Decided = Literal["before training", "after a training", "over several trainings", "during training"]
Data = Literal["no data", "few examples", "training set", "not declared"]
Moving = Literal["static", "moves", "only shrinks", "moves, count learned"]
CostGroup = Literal["no data", "few examples", "whole training set", "several trainings"]

COST_GROUPS: tuple[CostGroup, ...] = ("no data", "few examples", "whole training set", "several trainings")
NOT_TRAINED = ", not trained"
"""How the weights end of a method whose masked network is taken as it is."""
THETA0 = "\N{GREEK SMALL LETTER THETA}0"

DATA: dict[str, Data] = {
    "nothing": "no data",
    "inputs": "few examples",
    "labels": "few examples",
    "training set": "training set",
}

declared = cache(declared_needs)
"""What a registered pruner says it needs, read once a process."""
learns_count = cache(counts_left)
"""Whether how many weights a registered hook leaves is an outcome, read once a process."""
moves = cache(moves_masks)
"""Whether a registered hook may change masks, read once a process."""
sees_data = cache(reads_data)
"""Whether a registered hook looks at examples of training or validation, read once a process."""


@dataclass(frozen=True)
class Taxonomy:
    """The four answers for one method of one protocol.

    `decided`: when the mask is. `data`: what it is decided from; the training set once a network was trained for it, or
    where a hook looks at examples beside the training, whatever it does with them.
    `weights`: that the final training starts from, before the mask; `THETA0` are the initial ones of the seed. `mask`:
    what happens to it in the final training.
    """

    decided: Decided
    data: Data
    weights: str
    mask: Moving

    @property
    def words(self) -> str:
        """The answers in one cell of a table."""
        return f"{self.decided}, {self.data}; {self.weights}; {self.mask}"

    @property
    def cost_group(self) -> CostGroup:
        """With whom the method is ranked: those whose masks cost as much data and training. Who declares nothing is
        ranked with those that may see everything."""
        if self.decided == "over several trainings":
            return "several trainings"
        if self.data == "no data" or self.data == "few examples":  # noqa: PLR1714 - a checker of types narrows this
            return self.data
        return "whole training set"


def examples_scored(kind: Taxonomy | None, cost: CostFacts) -> int:
    """Examples that a pruner scored with. Of a method without data none: what went through its network, SynFlow's ones
    in every round, are no examples, though the record counts them as it counts passes."""
    return 0 if kind is not None and kind.data == "no data" else cost.prune_examples


def taxonomy(seen: Observations, method: str) -> Taxonomy:
    """The answers for a method of a protocol, a plugin's too; a control has its parent's, but for what it redraws."""
    protocol = seen.protocol
    spec, own = protocol.pruning_method(method), protocol.methods.get(method)
    submission = seen.submissions.get(method)
    needs = submission.needs if submission else declared(spec.pruner)
    decided = _decided(_that_decides(protocol, spec), needs)
    data: Data = "training set"
    if decided == "before training" and not (spec.hook and sees_data(spec.hook.name)):
        data = DATA.get(needs or "", "not declared")
    weights = _taken(spec.masks_from) if spec.masks_from else _weights(spec.schedule)
    if isinstance(own, ControlSpec) and own.control == "reinitialise":
        weights = "another draw"
    if isinstance(own, ControlSpec) and own.control == "reset":
        weights = THETA0
    return Taxonomy(decided, data, weights, _mask(spec))


OF_SOURCE: Mapping[Reset, str] = {
    "trained": "trained on the source",
    "theta0": THETA0,
    "fine-tuned": "pruned and trained on the source",
    "random": "another draw",
    "resampled": "another draw",
}
"""What the body of a network starts from that takes another protocol's masks."""


def _taken(taken: MasksFrom) -> str:
    return OF_SOURCE[taken.reset] + (" with noise" if taken.noise else "")


def _that_decides(protocol: Protocol, spec: MethodSpec) -> MethodSpec:
    """The method by which a mask is found: the source's, where masks are taken from one."""
    taken = spec.masks_from
    return spec if taken is None else protocol.mask_sources[taken.protocol].pruning_methods[taken.method]


def _decided(spec: MethodSpec, needs: str | None) -> Decided:
    if spec.hook is not None and moves(spec.hook.name):
        return "during training"
    if spec.schedule.rounds == "levels":
        return "over several trainings"
    trained = spec.schedule.scores == "trained" or needs in OF_TRAINED
    return "after a training" if trained else "before training"


def _weights(schedule: Schedule) -> str:
    if schedule.restart == "trained":
        return "trained"
    if schedule.weights == "kept":
        return "trained, learning rate rewound"
    if schedule.values == "signed-constant":
        return f"signs of {THETA0}{_untrained(schedule)}"
    at = THETA0 if schedule.restart == 0 else f"step {schedule.restart:,}"
    return f"{at}{_untrained(schedule)}"


def _untrained(schedule: Schedule) -> str:
    return NOT_TRAINED if schedule.training == "none" else ""


def _mask(spec: MethodSpec) -> Moving:
    if spec.hook is None or not moves(spec.hook.name):
        return "static"
    if learns_count(spec.hook.name):
        return "moves, count learned"
    return "only shrinks" if spec.hook.starts == "dense" else "moves"


def is_control(protocol: Protocol, method: str) -> bool:
    """Whether a method is there to be compared with another, and not to find good masks: it takes another's masks, or
    turns a ranking around."""
    spec = protocol.methods.get(method)
    return isinstance(spec, ControlSpec) or (isinstance(spec, MethodSpec) and spec.keep == "lowest")


def ranked_methods(seen: Observations, group: CostGroup) -> list[str]:
    """The methods of a cost group, in the protocol's order; controls and analyses are in none."""
    left_out = {DENSE, *seen.protocol.analyses}
    methods = [m for m in seen.protocol.all_methods if m not in left_out and not is_control(seen.protocol, m)]
    return [method for method in methods if taxonomy(seen, method).cost_group == group]
