"""A registered compressor by name, and its result held to the contract: within the budget, computing what it counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from benchmark.compression.interface import Compressed, Compressor, dense_bits
from benchmark.pruning.interface import Network
from benchmark.utils.errors import BadInput, BadPruner


def compressed(name: str, compressor: Compressor, network: Network, budget: int) -> Compressed:
    """What `compressor`, called `name`, makes of `network` at a budget of so many bits.

    Raises BadInput for a budget that compresses nothing, and what the compressor raises; BadPruner if the result
    breaks the contract.
    """
    dense = dense_bits(network)
    if not 0 < budget < dense:
        raise BadInput(f"a budget of {budget} bits", f"the weights take {dense} as they are", "Give fewer, above 0")
    before: Mapping[str, Any] = {name: weight.clone() for name, weight in network.weights.items()}
    found = compressor.compress(network, budget)
    thing = f"compressor '{name}'"
    if any(not torch.equal(weight, before[key]) for key, weight in network.weights.items()):
        raise BadPruner(thing, "changed the network that it was given", "Change what `copied` gives")
    if found.bits() > budget:
        raise BadPruner(thing, f"took {found.bits()} bits of {budget}", "Keep to the budget")
    with torch.no_grad():
        outputs = found.module.eval()(torch.zeros(2, *network.input_shape))
    if outputs.shape != (2, network.classes) or not bool(outputs.isfinite().all()):
        raise BadPruner(thing, f"gave outputs of {tuple(outputs.shape)}, or not finite", "Keep the network's function")
    return found
