"""How much of a network's arithmetic a mask leaves: two masks of one density may differ severalfold in convolutions.

The weights that stay, each times the outputs that it is used for, over those of the whole network: the inverse is what
Blalock et al. (2020, arXiv 2003.03033) call theoretical speedup. It is counted from a record's weights by layer, so
nothing is measured again. Not a time: a masked network runs as long as a dense one. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from statistics import fmean

from benchmark.claims.wording import percent
from benchmark.protocols import Protocol
from benchmark.records.schema import MaskFacts, Record

MULTIPLY_ADDS = """\
Multiply-adds: of the dense network's, in percent, those that the mask leaves, mean over seeds. The inverse is often
called theoretical speedup; a masked network is not faster.
"""


@cache
def tells_more(protocol: Protocol) -> bool:
    """Whether it can be counted and says more than density: weights are used differently often, and each prunable layer
    is one tensor of weights, so that what its record counts are these."""
    positions, layers = protocol.network.positions, protocol.pruning.layer_of
    return (
        len(set(positions.values())) > 1
        and len(set(layers.values())) == len(layers)
        and layers.keys() <= positions.keys()
    )


@cache
def _uses(protocol: Protocol) -> dict[str, float]:
    """Of each prunable layer, the share of all multiply-adds that one of its weights stands for."""
    network = protocol.network
    positions, total = network.positions, network.multiply_adds
    return {layer: positions[name] / total for name, layer in protocol.pruning.layer_of.items()}


def share_left(protocol: Protocol, mask: MaskFacts) -> float:
    """Of the dense network's multiply-adds, those that a mask leaves; layers that are not pruned stay whole."""
    return 1 - sum(use * (mask.layers[layer].size - mask.layers[layer].kept) for layer, use in _uses(protocol).items())


def mean_share(protocol: Protocol, records: Iterable[Record]) -> float | None:
    """`share_left`, meaned over records of one density; None where there is none, or `tells_more` says no."""
    if not tells_more(protocol):
        return None
    shares = [share_left(protocol, record.mask) for record in records if record.mask is not None]
    return fmean(shares) if shares else None


def share_text(share: float) -> str:
    """Percent in three significant digits."""
    return percent(share, 3)
