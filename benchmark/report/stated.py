"""What papers state, and what this suite asks besides: the words and the mark that every page tells them apart by.

A claim of the second kind is derived from a paper, or its direction asked of networks that the paper does not train.
If it deviates, that is no deviation of the paper. No torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from benchmark.claims.evidence import UNDECIDED, Verdict
from benchmark.claims.verdicts import Decision

PUBLISHED = "Published claims"
OWN = "Asked by this suite besides, derived from papers or of networks that they do not train"
MARK = "°"
"""Behind the name of a claim that this suite asks."""
NOT_OF_THE_PAPER = "asked by this suite; says nothing of the paper"
DECIDED: tuple[Verdict, ...] = ("reproduced", "deviates", "contradicted")


def is_own(decision: Decision) -> bool:
    """Whether this suite asks it, and the paper does not state it."""
    return decision.stated_by == "suite"


def marked(decision: Decision) -> str:
    """A claim's name, with the mark if this suite asks it."""
    return f"{decision.claim}{MARK if is_own(decision) else ''}"


def published_and_own(decisions: Iterable[Decision]) -> tuple[list[Decision], list[Decision]]:
    """What papers state, and what this suite asks besides."""
    every = list(decisions)
    return [d for d in every if not is_own(d)], [d for d in every if is_own(d)]


def authors_in_short(authors: str) -> str:
    """Authors as a line names them: of more than two the first."""
    first, *others = authors.split(",")
    return f"{first} et al." if len(others) > 1 else authors


def own_words(decisions: Sequence[Decision]) -> str:
    """How many claims that this suite asks have which verdict, in short: `2 reproduced, 1 deviates, 3 open`."""
    own = published_and_own(decisions)[1]
    counts = Counter(d.verdict for d in own)
    parts = [f"{counts[verdict]} {verdict}" for verdict in DECIDED if counts[verdict]]
    open_ = sum(counts[verdict] for verdict in UNDECIDED)
    return ", ".join([*parts, *([f"{open_} open"] if open_ else [])])
