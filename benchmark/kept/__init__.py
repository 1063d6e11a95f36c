"""Weights of which a mask keeps some: the kept ones as vectors, and networks that compute with them alone.

Methods of many rounds look at a network that is mostly pruned. With vectors of what is left, their later rounds cost
what their few weights cost: gradients of pruned weights are not computed, zeros are not multiplied. `Pattern` says
where what is kept lies, `KeptWeight` stands for a weight tensor in a network, and products.py multiplies with it.
"""

from benchmark.kept.index import count, places
from benchmark.kept.lazy import Copied, Lazy, Masked
from benchmark.kept.pattern import Pattern
from benchmark.kept.weight import KeptWeight

__all__ = ["Copied", "KeptWeight", "Lazy", "Masked", "Pattern", "count", "places"]
