"""Networks by the fields of a protocol, and their initial weights by seed. One module a family.

May import `datasets`, `records`, `protocols` and `utils`.
"""

from benchmark.networks.registry import build, initial_state, make

__all__ = ["build", "initial_state", "make"]
