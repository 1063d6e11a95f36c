"""What pruned weights save of an update's time: nothing by torch, most of it by the portable kernels. No torch.

The kernels compute with surviving weights alone (docs/portable.md). Of the time of a dense network's update a part
stays whatever is pruned, for examples to be gathered, activations, the loss; the rest falls with the weights that are
left, once layers are held by surviving weights:

    seconds(density) = seconds(1) * (fixed + (1 - fixed) * min(1, density / SPARSE_BELOW))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from statistics import median

from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE
from benchmark.protocols.methods import MethodSpec

SPARSE_BELOW = 0.75  # density of a layer from which on the kernels hold it densely; see kernels/layout.py
LEAST = 0.01
FIXED = 0.08  # by `lotterybench speed --part kernels`, docs/portable.md: LeNet-300-100's and MNIST-1D's network alike


@dataclass(frozen=True)
class Saving:
    """`fixed`: what part of a dense network's update stays whatever is pruned, above 0; 1 where nothing is saved."""

    fixed: float = 1.0

    def at(self, density: float) -> float:
        """An update of a network of that density, as a part of the dense one's."""
        return self.fixed + (1.0 - self.fixed) * _work(density)


NOTHING = Saving()
USUAL = Saving(FIXED)


def expected_saving(protocol: Protocol) -> Saving:
    """What is expected of a protocol on a CPU before it has records there."""
    return USUAL if protocol.trains and protocol.recipe.arithmetic == "portable" else NOTHING


def density_of(protocol: Protocol, method: str, level: int) -> float:
    """The part of a network's weights that updates of a cell compute with, those that are never pruned included."""
    spec = protocol.all_methods.get(method)
    if method == DENSE or level == 0 or (isinstance(spec, MethodSpec) and spec.hook and spec.hook.starts == "dense"):
        return 1.0
    found = protocol.level_table[level]
    return 1.0 - (found.prunable - found.kept) / _weights(protocol)


@cache
def _weights(protocol: Protocol) -> int:
    """Of its network, prunable or not. A plan asks for every record and cell."""
    return sum(prod(shape) for kind, shape in protocol.network.tensors.values() if kind != "bias")


def fitted(seen: Mapping[float, Sequence[float]]) -> Saving:
    """From seconds of an update by density, all of one protocol on one device.

    Least squares of relative errors over the medians of each density, seconds = a + b * work. What is usual counts as
    one density more, so that records of a single density say how long an update takes and not what pruning saves.
    """
    points = [(density, middle) for density, values in seen.items() if (middle := median(values)) > 0]
    if not points:
        return USUAL
    scale = median(seconds / USUAL.at(density) for density, seconds in points)
    # Rows (p, q, r) of p a + q b = r: each density's, and a (1 - FIXED) - b FIXED = 0, in units of a dense update.
    rows = [(1.0 / seconds, _work(density) / seconds, 1.0) for density, seconds in points]
    rows.append(((1.0 - FIXED) / scale, -FIXED / scale, 0.0))
    pp, pq, qq = (sum(r[i] * r[j] for r in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
    pr, qr = (sum(r[i] * r[2] for r in rows) for i in (0, 1))
    a, b = pr * qq - qr * pq, qr * pp - pr * pq  # times the determinant, which is positive
    return Saving(min(1.0, max(LEAST, a / (a + b))))


def _work(density: float) -> float:
    return min(1.0, density / SPARSE_BELOW)
