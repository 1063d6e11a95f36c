"""Training: recipes, the replica engine, evaluation."""

from __future__ import annotations

from benchmark.training.engine import Outcome, Replica, train
from benchmark.training.evaluation import History

__all__ = ["History", "Outcome", "Replica", "train"]
