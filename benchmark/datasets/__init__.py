"""Data sets: found or fetched, checked by digest, split by seed."""

from __future__ import annotations

from benchmark.datasets.for_protocol import prepared
from benchmark.datasets.loading import Dataset, load
from benchmark.datasets.splits import Split, scoring_examples, split

__all__ = ["Dataset", "Split", "load", "prepared", "scoring_examples", "split"]
