"""How fast a worker really is, beside what the cost model expects of it: whether one more training fits the budget."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from statistics import median

from benchmark.costs import Wall
from benchmark.packing import round_seconds


class Pace:
    """Of one protocol in one process. Nothing is known at first if no model is given."""

    def __init__(self, expected: Wall | None = None) -> None:
        self._expected: Wall = expected if expected and expected(1) > 0 else float
        # The median of a few runs: one that was held up by a busy machine must not end the budget early.
        self._ratios = deque([1.0 if self._expected is expected else 0.0], maxlen=5)

    def seen(self, company: int, seconds_per_step: float) -> None:
        """A training of a company took so long for each update."""
        self._ratios.append(seconds_per_step / self._expected(company))

    def seconds(self, steps: Sequence[int]) -> float:
        """Of trainings side by side, with so many updates each."""
        return median(self._ratios) * round_seconds(self._expected, steps)
