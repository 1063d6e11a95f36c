"""`contradicted`: what deviates is contradicted by the paper's own data, and nothing else deviates."""

from __future__ import annotations

import pytest

from benchmark import protocols
from benchmark.claims import papers
from benchmark.claims.evidence import Verdict
from benchmark.claims.observations import all_gathered
from benchmark.claims.verdicts import combined, decide_paper
from benchmark.records.store import Store


@pytest.mark.parametrize(
    ("verdicts", "known", "claim"),
    [
        (("deviates",), (1,), "contradicted"),
        (("reproduced", "deviates"), (2,), "contradicted"),
        (("inconclusive", "deviates"), (2,), "contradicted"),
        (("deviates", "deviates"), (2,), "deviates"),  # another check deviates of its own
        (("deviates",), (), "deviates"),
        (("reproduced",), (1,), "reproduced"),  # the paper's own data excuse nothing that holds
        (("not measured", "reproduced"), (1,), "not measured"),
    ],
)
def test_only_what_the_paper_contradicts_itself_is_excused(
    verdicts: tuple[Verdict, ...], known: tuple[int, ...], claim: Verdict
) -> None:
    assert combined(verdicts, known) == claim


def test_the_paper_s_own_figures_stand_in_the_note() -> None:
    """A count of Conv-6's layers needs no record."""
    protocol = protocols.load("lth/conv6-cifar10")
    seen = all_gathered([protocol], [Store(protocols.protocols_folder())])  # a folder without records
    (decision,) = [d for d in decide_paper(papers.load("lth"), seen) if d.claim == "lth-26-conv6"]
    assert decision.verdict == "contradicted"
    assert "2,261,184" in str(decision.note)
