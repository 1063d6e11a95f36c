"""What papers state is told apart from what this suite asks: on the pages of claims, in tables, in the summary."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from benchmark import protocols
from benchmark.claims import papers
from benchmark.claims.evidence import Verdict
from benchmark.claims.observations import Observations, all_gathered
from benchmark.claims.verdicts import Decision, decide_paper
from benchmark.records.store import Store
from benchmark.report.board.claims_pages import claims_page, found_words
from benchmark.report.board.front import Front
from benchmark.report.html import overview, pages
from benchmark.report.stated import NOT_OF_THE_PAPER, OWN, PUBLISHED, own_words
from benchmark.report.summary_svg import LEFT, RIGHT, bars, summary_svg

GRASP = papers.load("grasp")
VERDICTS: tuple[Verdict, ...] = (
    "reproduced", "deviates", "inconclusive", "not measured", "deviates", "deviates", "inconclusive",
)  # fmt: skip
Seen = dict[str, Observations]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return dict(all_gathered(protocols.load_all(), [Store(tmp_path_factory.mktemp("nothing"))]))


@pytest.fixture(scope="module")
def decisions(seen: Seen) -> list[Decision]:
    """Four claims that the paper states, then three that the suite asks, with verdicts by hand."""
    found = decide_paper(GRASP, seen)
    return [
        replace(each, verdict=verdict, stated_by="paper" if n < 4 else "suite")
        for n, (each, verdict) in enumerate(zip(found, VERDICTS, strict=False))
    ]


def test_a_claim_of_the_suite_says_so_under_its_heading(seen: Seen, decisions: list[Decision]) -> None:
    text = claims_page(GRASP, decisions, seen)
    line = f"*{NOT_OF_THE_PAPER.capitalize()}.*"
    assert text.count(line) == 3
    for d in decisions[4:]:
        heading = text.index(f'<a id="{d.claim}"></a>{d.claim}°: ')
        assert text[heading:].split("\n")[2] == line
    assert not any(f"{d.claim}°" in text for d in decisions[:4])
    stated, own = re.findall(r"^\*\*(?:Claims|Asked by this suite):\*\* .*$", text, re.MULTILINE)
    assert "1 reproduced" in stated
    assert "1 deviates" in stated
    assert "2 deviates" in own


def test_the_table_of_papers_counts_what_the_suite_asks_in_a_column_of_its_own(
    seen: Seen, decisions: list[Decision]
) -> None:
    text = Front([(GRASP, decisions)], seen, "docs/board", "").text()
    row = next(line for line in text.splitlines() if line.startswith("| [grasp]"))
    cells = [cell.strip() for cell in row.split("|")[2:8]]
    assert cells == ["1", "1", "", "1", "1", "2 deviates, 1 open"]
    assert own_words(decisions[:4]) == ""


def test_the_headline_of_the_report_has_two_lines(decisions: list[Decision]) -> None:
    (stated, ours), (own, theirs) = overview.headline(decisions)
    assert (stated, ours["deviates"]) == (PUBLISHED, 1)
    assert own.startswith(OWN)
    assert (theirs["deviates"], theirs["reproduced"]) == (2, 0)
    assert len(overview.headline(decisions[:4])) == 1
    assert overview.findings([decisions])[0].claim == decisions[1].claim, "what the paper states is first"


def test_a_page_of_the_report_marks_it_too(decisions: list[Decision]) -> None:
    template = pages._environment().get_template("paper.html")
    text = template.render(root="../", paper=GRASP, found=decisions[3:6], costs={d.claim: "" for d in decisions})
    assert text.count(f'<p class="hint">° {NOT_OF_THE_PAPER}</p>') == 2
    assert text.count(f'title="{NOT_OF_THE_PAPER}">°') == 2


def test_a_finding_says_what_a_bounded_number_needs(seen: Seen, decisions: list[Decision]) -> None:
    check = replace(
        decisions[1].checks[0], verdict="deviates", measured="training accuracy: 93.66 % [90.82, 96.50]",
        window="more than 99 %", bounds=(99.0, None),
    )  # fmt: skip
    wrong = replace(decisions[1], checks=(check,))
    words = "training accuracy: 93.66 % [90.82, 96.50], needs more than 99 %"
    assert found_words(wrong) == words
    assert f"measured {words}." in Front([(GRASP, [wrong])], seen, "docs/board", "").text()
    for bounds in ((0.0, None), (-1.0, 1.0), (None, None)):
        assert found_words(replace(wrong, checks=(replace(check, bounds=bounds),))) == check.measured


def test_the_summary_is_of_what_papers_state(decisions: list[Decision]) -> None:
    """Four claims share the length of a bar, three with a number in it; only the paper's own deviation is named."""
    (bar,) = bars([(GRASP, decisions)])
    assert (bar.total, bar.measured) == (4, 3)
    text = summary_svg([(GRASP, decisions)])
    widths = [
        float(width) for width in re.findall(r'<rect class="[a-z-]+" x="[\d.]+" y="\d+" width="([\d.]+)" h', text)
    ]
    quarter = (RIGHT - LEFT) / 4
    assert widths[5:] == pytest.approx([quarter - 1] * 4, abs=0.06), "after the five of the legend"
    assert "Published claims of 1 paper: 1 reproduced, 1 deviates, 1 inconclusive, 1 not measured" in text
    assert decisions[1].claim in text
    assert not any(d.claim in text for d in decisions[4:])
    assert decisions[1].claim not in summary_svg([(GRASP, decisions)], findings=False)
    wild = replace(decisions[1], statement='a <b> & "c"', published="</svg>")
    ElementTree.fromstring(summary_svg([(GRASP, [wild])]))
    assert "nothing is measured yet" in summary_svg([(GRASP, decisions[3:])])
