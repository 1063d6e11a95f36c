"""Whether the sections of a protocol fit each other. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmark.spec.methods import ControlSpec, MethodSpec

if TYPE_CHECKING:
    from benchmark.protocol import Protocol


def check_levels(protocol: Protocol, name: str) -> None:
    """Every level of a method is one of the protocol's, and stands there once. Raises ValueError."""
    wanted, last = protocol.measured_levels(name), len(protocol.level_table) - 1
    if wrong := [level for level in wanted if not 1 <= level <= last]:
        raise ValueError(f"methods.{name}: level {wrong[0]} is outside 1..{last}")
    if len(set(wanted)) != len(wanted):
        raise ValueError(f"methods.{name}: a level stands twice")


def check_batch_norm(protocol: Protocol) -> None:
    """What is said of batch norm fits the network. Raises ValueError."""
    has = protocol.network.has_batch_norm
    if has == (protocol.pruning.scoring.batch_norm == "network-has-none"):
        raise ValueError(f"pruning.scoring.batch_norm: the network {'has' if has else 'has no'} batch norm")
    if has != (protocol.pruning.rewound == "weights-biases-and-batch-norm"):
        raise ValueError(f"pruning.rewound: the network {'has' if has else 'has no'} batch norm to rewind")


def check_schedule(protocol: Protocol, name: str, spec: MethodSpec) -> None:
    """A method can be trained and cut as its schedule says. Raises ValueError."""
    restart = spec.schedule.restart
    if protocol.trains and isinstance(restart, int) and restart >= protocol.recipe.steps:
        raise ValueError(f"methods.{name}: restart {restart} is not before the last of {protocol.recipe.steps} steps")
    if spec.allocation == "layerwise" and spec.schedule.rounds != "levels":
        for level in protocol.measured_levels(name):
            if protocol.level_table[level].one_shot_counts is None:
                raise ValueError(f"methods.{name}: level {level} cannot be reached in one round with layer_rates")


def check_control(protocol: Protocol, name: str, spec: ControlSpec) -> None:
    """A control has a parent whose masks it can take. Raises ValueError."""
    parent = protocol.methods.get(spec.of)
    if not isinstance(parent, MethodSpec):
        raise ValueError(f"methods.{name}: of: '{spec.of}' is not a pruning method of this protocol")
    if name != f"{spec.of}+{'reinit' if spec.control == 'reinitialise' else spec.control}":
        raise ValueError(f"methods.{name}: a control is named <method>+reinit or <method>+shuffle")
    if missing := set(spec.levels) - set(protocol.measured_levels(spec.of)):
        raise ValueError(f"methods.{name}: level {min(missing)} is not measured by {spec.of}")
    if spec.control == "reinitialise" and (parent.schedule.restart, parent.schedule.weights) != (0, "rewound"):
        raise ValueError(f"methods.{name}: new weights start at step 0, but {spec.of} restarts elsewhere")
