"""Training: recipes, the replica engine, evaluation."""

from __future__ import annotations

from benchmark.training.engine import Place, train
from benchmark.training.evaluation import History
from benchmark.training.replica import Outcome, Replica

__all__ = ["History", "Outcome", "Place", "Replica", "train"]
