"""Networks by the fields of a protocol, and their initial weights by seed."""

from __future__ import annotations

from benchmark.networks.build import build, initial_state, make

__all__ = ["build", "initial_state", "make"]
