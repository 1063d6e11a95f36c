"""The first lines of the board: what papers state is counted apart from what this suite asks besides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmark import protocols
from benchmark.claims import papers
from benchmark.claims.observations import all_gathered
from benchmark.claims.verdicts import Decision, decide_paper
from benchmark.cli.outcome import verdict_words
from benchmark.records.store import Store
from benchmark.report.board.front import Front
from benchmark.report.stated import OWN, PUBLISHED


@pytest.fixture(scope="module")
def decisions(tmp_path_factory: pytest.TempPathFactory) -> list[Decision]:
    """Those of one paper, none of which is measured, with verdicts written over them by hand."""
    seen = all_gathered(protocols.load_all(), [Store(tmp_path_factory.mktemp("nothing"))])
    found = decide_paper(papers.load("grasp"), seen)
    return [
        replace(found[0], verdict="deviates", stated_by="paper"),
        replace(found[1], verdict="reproduced", stated_by="paper"),
        *(replace(each, verdict="deviates", stated_by="suite") for each in found[2:12]),
    ]


def test_a_deviation_of_what_the_suite_asks_is_none_of_the_paper(decisions: list[Decision]) -> None:
    seen = all_gathered(protocols.load_all(), [Store(Path("nowhere"))])
    text = Front([(papers.load("grasp"), decisions)], seen, "docs/board", "").text()
    published, own = (next(line for line in text.splitlines() if f"**{what}**" in line) for what in (PUBLISHED, OWN))
    assert "1 reproduced, 1 deviates" in published
    assert f"[{decisions[0].claim}]" in published
    assert not any(f"[{each.claim}]" in published for each in decisions[1:])
    assert "none reproduced, 10 deviates" in own
    assert "and 6 more" in own, "four are named"
    findings = text.partition("## Findings")[2]
    assert findings.index(decisions[0].claim) < findings.index(decisions[2].claim)


def test_the_command_line_counts_them_apart_too(decisions: list[Decision]) -> None:
    words = verdict_words(decisions)
    assert words.startswith("12 claims decided (1 reproduced, 11 deviates)")
    assert "10 are asked by this suite" in words
    assert "asked by this suite" not in verdict_words(decisions[:2])
