"""A plugin and what it says of itself."""

from __future__ import annotations

from typing import Any

from benchmark.plugins.describe import PluginFacts

PLUGIN = """
from typing import Literal

from benchmark.api import Pruner


class Mine(Pruner):
    needs = "labels"
    paper = "none"
    rounds = 3

    def __init__(self, alpha: float = 1.0, *, beta: int = 1, on: bool = False, mode: Literal["a", "b"] = "a",
                 odd: list = (), bare=2) -> None:
        if alpha < 0:
            raise ValueError("alpha is below 0")

    def score(self, network, examples, rng):
        return {name: w.abs() for name, w in network.weights.items()}
"""


def facts(**changes: Any) -> PluginFacts:
    """A plugin called mine."""
    plain: dict[str, Any] = {
        "name": "mine",
        "kind": "score",
        "digest": "0" * 64,
        "needs": "labels",
        "paper": "",
        "rounds": 1,
        "allocation": "global",
        "parameters": {},
        "registered": "no",
    }
    return PluginFacts(**{**plain, **changes})
