"""Named random streams: every draw comes from a generator derived from (seed, purpose).

All methods of a protocol that share a seed therefore share initial weights, split and example order,
so their comparisons are paired, and no draw of one replica can disturb another.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derived_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed, a function of `seed` and the words of `purpose` only."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *purpose: str | int) -> torch.Generator:
    """A fresh CPU generator for one purpose, e.g. `stream(3, "order", epoch)`."""
    import torch

    return torch.Generator().manual_seed(derived_seed(seed, *purpose))
