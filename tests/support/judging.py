"""Papers of one claim, judged on synthetic records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from builders import Outcome, records_of

from benchmark import protocols
from benchmark.claims import papers as published
from benchmark.claims.observations import Observations
from benchmark.claims.published import Published
from benchmark.claims.verdicts import Decision, decide_paper
from benchmark.protocols.cells import Cell

LTH = protocols.load("lth/lenet-mnist@1")


COMMON = (0.05, -0.08, 0.02, 0.1, -0.06)


OWN = (0.01, -0.03, 0.02, 0.04, -0.02)


def paper_of(*rule_lists: Sequence[dict[str, Any]], protocol: str = LTH.id) -> Published:
    claims = [
        {
            "id": f"x-{i}",
            "protocol": protocol,
            "version": protocols.load(protocol).version if protocol in protocols.available() else 1,
            "statement": "s",
            "published": "p",
            "source": "here",
            "read_from": "text",
            "checks": list(rules),
        }
        for i, rules in enumerate(rule_lists, start=1)
    ]
    return published.parse(
        {
            "schema": "lotterybench/published/1",
            "paper": {"key": "x", "title": "t", "authors": "a", "year": 2020, "arxiv": "0"},
            "sources": [{"id": "text", "kind": "primary-text", "where": "here"}],
            "densities": {},
            "claims": claims,
            "not_decided": [],
        },
        "x.yaml",
    )


def judge(
    rules: Sequence[dict[str, Any]],
    mean: Callable[[str, int], tuple[float, float]],
    seeds: int = 5,
    spread: float = 1.0,
    change: Callable[[Cell, Outcome], Outcome | None] = lambda _cell, outcome: outcome,
) -> Decision:
    """Decide one claim in a world where `mean(method, level)` gives (accuracy, step)."""

    def world(cell: Cell) -> Outcome | None:
        if cell.seed >= seeds:
            return None
        accuracy, step = mean(cell.method, cell.level)
        own = OWN[(cell.seed * 3 + cell.level + len(cell.method)) % 5]
        noise = spread * (COMMON[cell.seed] + own)
        return change(cell, Outcome(accuracy + noise, round(step * (1 + noise / 4))))

    seen = Observations(LTH, records_of(LTH, world))
    (decision,) = decide_paper(paper_of(rules), {LTH.id: seen})
    return decision
