"""Frozen settings of papers: typed, strictly read from YAML, locked by digest. Imports `utils` only; no torch.

Each module is one section of a protocol (`network`, `data`, `recipe`, `methods`, ...); `protocol` puts them together.
"""

from benchmark.protocols.protocol import (
    Protocol,
    available,
    earlier,
    load,
    load_all,
    load_earlier,
    load_file,
    parse,
    protocols_folder,
)

__all__ = [
    "Protocol",
    "available",
    "earlier",
    "load",
    "load_all",
    "load_earlier",
    "load_file",
    "parse",
    "protocols_folder",
]
