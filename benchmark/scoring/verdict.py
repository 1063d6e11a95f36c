"""What can be said of a check or a claim."""

from __future__ import annotations

from typing import Literal

Verdict = Literal["reproduced", "deviates", "inconclusive", "not measured"]
UNDECIDED: tuple[Verdict, Verdict] = ("inconclusive", "not measured")
