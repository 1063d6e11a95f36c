"""What it costs to store a sparse tensor, and which of its entries a budget of bits pays for.

Of n places k hold a value of v bits. Where they are takes, by a bitmap, n bits; by an entropy code n H(k / n), with
H(p) = -p log2 p - (1 - p) log2 (1 - p), which is what no code for positions of that density goes below on average, and
what an arithmetic coder reaches within a few bits. Shapes and numbers of values are not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, log2
from typing import Literal, get_args

import torch
from torch import Tensor

Positions = Literal["entropy", "bitmap"]


def binary_entropy(p: float) -> float:
    """H(p) in bits; 0 at both ends."""
    return 0.0 if p in (0.0, 1.0) else -p * log2(p) - (1 - p) * log2(1 - p)


@dataclass(frozen=True)
class Code:
    """How a sparse tensor is stored: where its values are, and `value_bits` for each of them."""

    positions: Positions
    value_bits: int

    def __post_init__(self) -> None:
        if self.positions not in get_args(Positions) or self.value_bits < 1:
            raise ValueError(f"positions {self.positions!r}, {self.value_bits} bits: entropy or bitmap, bits from 1")

    def bits(self, places: int, kept: int) -> dict[str, int]:
        """Of `kept` values in `places` places."""
        where = places if self.positions == "bitmap" else ceil(places * binary_entropy(kept / places))
        return {"positions": where, "values": self.value_bits * kept}

    def most(self, places: int) -> int:
        """Up to how many values every further one costs more.

        n H(p) + v p n grows until p = 2^v / (2^v + 1); beyond, zeros are the rarer ones.
        """
        if self.positions == "bitmap":
            return places
        return max(1, int(places * 2.0**self.value_bits / (2.0**self.value_bits + 1)))

    def zero_share(self, bits_per_place: float) -> float:
        """The share of zeros at which a large tensor takes so many bits a place: bits / n = H(p) + v p, for 1 - p.

        Raises ValueError if no share does. By bisection, to 1e-12.
        """

        def cost(p: float) -> float:
            return (1.0 if self.positions == "bitmap" else binary_entropy(p)) + self.value_bits * p

        low = 0.0
        high = 1.0 if self.positions == "bitmap" else 2.0**self.value_bits / (2.0**self.value_bits + 1)
        if not cost(low) <= bits_per_place <= cost(high):
            raise ValueError(f"{bits_per_place:.3f} bits a place: {self.positions} takes {cost(low)} to {cost(high)}")
        while high - low > 1e-12:
            middle = (low + high) / 2
            low, high = (middle, high) if cost(middle) <= bits_per_place else (low, middle)
        return 1 - low


def filled(
    scores: Mapping[str, Tensor], code: Code, cost: Callable[[Mapping[str, int]], int], budget: int
) -> dict[str, int] | None:
    """How many of the highest scores each tensor keeps if as many as `budget` bits pay for are kept of all together.

    Every tensor keeps at least one, and at most `code.most`; ties go to the earlier. `cost`: bits for such numbers.
    None if the budget does not pay for one in each.
    """
    names = list(scores)
    flat = [scores[name].flatten().double() for name in names]
    owner = torch.cat([torch.full((len(part),), number) for number, part in enumerate(flat)])
    order = torch.cat(flat).argsort(descending=True, stable=True)
    reached = torch.nn.functional.one_hot(owner[order], len(names)).cumsum(0)
    most = [code.most(len(part)) for part in flat]

    def counts(kept: int) -> dict[str, int]:
        own = reached[kept - 1].tolist() if kept else [0] * len(names)
        return {name: min(max(n, 1), limit) for name, n, limit in zip(names, own, most, strict=True)}

    if cost(counts(0)) > budget:
        return None
    low, high = 0, len(order)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cost(counts(middle)) <= budget else (low, middle - 1)
    return counts(low)
