"""What a plugin imports: the interfaces of pruners, learners, hooks and compressors. This path never moves.

A pruner's digest covers its import line, so the definitions may move (they stand in `benchmark.pruning.interface`,
`benchmark.compression` and `benchmark.training`), but this module's name and what it exports may not.
"""

from __future__ import annotations

from benchmark.compression.coding import Code, filled
from benchmark.compression.interface import (
    Compressed,
    CompressedLayer,
    Compressor,
    Work,
    bias_of,
    copied,
    layer_function,
    replace_layer,
)
from benchmark.datasets.dataset import Examples
from benchmark.networks.layers import uniforms
from benchmark.protocols.recipe import Recipe
from benchmark.pruning.interface import Cost, MaskLearner, Masks, Network, Plugin, Pruner, Scores, ScoringRound
from benchmark.pruning.topk import keep_top
from benchmark.training.hooks import CountsLeft, GathersScores, Hook, MovingMasks, Run
from benchmark.training.learner import Learner, annealed, cut_steps, event_steps, highest, straight_through
from benchmark.utils.errors import BadInput

__all__ = [
    "BadInput",
    "Code",
    "Compressed",
    "CompressedLayer",
    "Compressor",
    "Cost",
    "CountsLeft",
    "Examples",
    "GathersScores",
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
    "ScoringRound",
    "Work",
    "annealed",
    "bias_of",
    "copied",
    "cut_steps",
    "event_steps",
    "filled",
    "highest",
    "keep_top",
    "layer_function",
    "replace_layer",
    "straight_through",
    "uniforms",
]
