"""How the units of a network are joined, for measures of masks: which layers lead from which units to which. No torch.

Units are channels of convolutions and units of linear layers; pixels of a channel are one unit, so a weight joins two
units wherever it is in its kernel. A network is a list of edges in the order of its forward pass, from one set of units
to another; several edges into one set are summed, as at the end of a residual block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

INPUT: Final = "input"


@dataclass(frozen=True)
class Edge:
    """From the units `source` to the units `target`: by the weights of `tensor`, or, if None, each unit to the unit of
    its number (a shortcut; target units beyond those of the source get nothing)."""

    source: str
    target: str
    tensor: str | None = None


def sequence(tensors: Iterable[str]) -> tuple[Edge, ...]:
    """Edges of weights, one after another; the units that a weight leads to are named after it."""
    edges: list[Edge] = []
    for name in tensors:
        edges.append(Edge(edges[-1].target if edges else INPUT, name, name))
    return tuple(edges)
