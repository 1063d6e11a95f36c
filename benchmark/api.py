"""What a plugin imports: the interfaces of pruners, learners and hooks. This path never moves.

A pruner's digest covers its import line, so the definitions may move (they stand in `benchmark.pruning.interface` and
`benchmark.training`), but this module's name and what it exports may not.
"""

from __future__ import annotations

from benchmark.datasets.dataset import Examples
from benchmark.protocols.recipe import Recipe
from benchmark.pruning.interface import Cost, MaskLearner, Masks, Network, Plugin, Pruner, Scores
from benchmark.training.hooks import Hook, MovingMasks, Run
from benchmark.training.learner import Learner, annealed, event_steps, highest, straight_through

__all__ = [
    "Cost",
    "Examples",
    "Hook",
    "Learner",
    "MaskLearner",
    "Masks",
    "MovingMasks",
    "Network",
    "Plugin",
    "Pruner",
    "Recipe",
    "Run",
    "Scores",
    "annealed",
    "event_steps",
    "highest",
    "straight_through",
]
