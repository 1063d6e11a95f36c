"""What a plugin imports: the interface of pruners and mask learners. This path never moves.

A pruner's digest covers its import line, so the definitions may move (they stand in `benchmark.pruning.interface`), but
this module's name and what it exports may not.
"""

from __future__ import annotations

from benchmark.datasets.dataset import Examples
from benchmark.pruning.interface import Cost, MaskLearner, Masks, Network, Plugin, Pruner, Scores

__all__ = ["Cost", "Examples", "MaskLearner", "Masks", "Network", "Plugin", "Pruner", "Scores"]
