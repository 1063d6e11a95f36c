"""Whether the sections of a protocol go together: what each says alone is checked by its own class.

Every check takes a whole protocol and raises ValueError, which loading explains with file and field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmark.protocols.analysis import AnalysisSpec
from benchmark.protocols.recipe import DATASETS, NO_EVALUATION, NO_TRAINING

if TYPE_CHECKING:
    from benchmark.protocols.protocol import Protocol


def check_measures(protocol: Protocol) -> None:
    """Recipe, evaluation, data and methods go with what the protocol measures. Raises ValueError."""
    check_analyses(protocol)
    examined = protocol.examined
    for name, given in {
        "recipe": protocol.recipe != NO_TRAINING,
        "evaluation": protocol.evaluation != NO_EVALUATION,
    }.items():
        if examined.trains and not given:
            raise ValueError(f"{name}: the field is missing; only a protocol with measures: masks trains nothing")
        if not examined.trains and given:
            raise ValueError(f"{name}: a protocol with measures: masks trains nothing; leave it out")
    if examined.trains and not DATASETS.get(protocol.data.name).test_examples:
        raise ValueError(
            f"data.name: '{protocol.data.name}' has no test set, so only a protocol with measures: masks can use it"
        )
    for name, spec in examined.all_methods.items():
        if not isinstance(spec, AnalysisSpec) and (why := spec.unfit_for(trains=examined.trains)):
            raise ValueError(f"methods.{name}: {why}")


def check_analyses(protocol: Protocol) -> None:
    """Analyses stand where they are measured, and only there. Raises ValueError."""
    if protocol.measures != "analysis":
        for name in protocol.analyses:
            raise ValueError(f"methods.{name}: an analysis needs measures: analysis")
        return
    if not protocol.analyses:
        raise ValueError("methods: measures: analysis needs a method with analysis: NAME")
    if protocol.dense_seeds:
        raise ValueError("dense_seeds: measures: analysis has no dense networks of its own")
    if protocol.evaluation != NO_EVALUATION and protocol.recipe == NO_TRAINING:
        raise ValueError("evaluation: goes with a recipe; give both, or neither where nothing is trained")


def check_levels(protocol: Protocol, name: str) -> None:
    """Every level of a method is one of the protocol's, and stands there once. Raises ValueError."""
    wanted, last = protocol.measured_levels(name), len(protocol.level_table) - 1
    first = 0 if name in protocol.analyses else 1
    if wrong := [level for level in wanted if not first <= level <= last]:
        raise ValueError(f"methods.{name}: level {wrong[0]} is outside {first}..{last}")
    if len(set(wanted)) != len(wanted):
        raise ValueError(f"methods.{name}: a level stands twice")


def check_batch_norm(protocol: Protocol) -> None:
    """What is said of batch norm fits the network. Raises ValueError."""
    has = protocol.network.has_batch_norm
    if has == (protocol.pruning.scoring.batch_norm == "network-has-none"):
        raise ValueError(f"pruning.scoring.batch_norm: the network {'has' if has else 'has no'} batch norm")
    if has != (protocol.pruning.rewound == "weights-biases-and-batch-norm"):
        raise ValueError(f"pruning.rewound: the network {'has' if has else 'has no'} batch norm to rewind")
