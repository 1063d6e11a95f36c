"""The board's files: same records, same bytes; every claim; links; ties; empty results; the committed ones agree."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from anchors import broken
from builders import Outcome, fill

from benchmark import protocols
from benchmark.claims import papers as published
from benchmark.claims.observations import Observations, gathered
from benchmark.claims.verdicts import decide_paper
from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell, cells_of
from benchmark.records.store import Store
from benchmark.report import figure, leaderboard
from benchmark.report.board.front import Front
from benchmark.report.rankings import shown_levels, standings
from benchmark.utils.errors import BadInput, EnvironmentProblem

ROOT = Path(__file__).parents[2]
LTH = protocols.load("lth/lenet-mnist@1")
PROTOCOLS = [LTH if protocol.id == LTH.id else protocol for protocol in protocols.load_all()]
MNIST1D = protocols.load("mnist1d/mlp@1")
LEVEL = {"imp": 98.3, "imp+reinit": 97.8, "random": 97.0, "magnitude": 97.0, "snip": 97.01, "one-shot": 98.0}


def world(cell: Cell) -> Outcome | None:
    """Well separated methods, but random, magnitude and SNIP alike; grasp fails; seeds 3 and 4 are missing."""
    if cell.seed > 2:
        return None
    if cell.method == "grasp":
        return Outcome(0, failed="collapsed: no gradient") if cell.level == 7 and cell.seed == 1 else None
    rng = np.random.default_rng(zlib.crc32(repr(cell).encode()))
    accuracy = LEVEL.get(cell.method, 97.9) - 0.01 * cell.level + rng.normal(0, 0.02)
    return Outcome(round(accuracy, 2), int(5000 + 100 * rng.integers(0, 9)))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store(tmp_path_factory.mktemp("results"))
    fill(made, LTH, world)
    fill(made, MNIST1D, world, ["dense", "imp", "imp+reinit"])
    return made


@pytest.fixture(scope="module")
def pages(store: Store) -> dict[str, str]:
    return leaderboard.render(store, PROTOCOLS)


@pytest.fixture(scope="module")
def text(pages: dict[str, str]) -> str:
    return "\n".join(pages.values())


@pytest.fixture(scope="module")
def committed() -> dict[str, str]:
    return leaderboard.render(Store(ROOT / "results"), protocols.load_all())


def test_the_committed_board_is_what_the_committed_records_say(committed: dict[str, str]) -> None:
    wrong = leaderboard.problems(ROOT / "leaderboard.md", committed)
    assert not wrong, "the board is out of date. Regenerate it: lotterybench leaderboard"


def test_same_records_same_bytes(store: Store, pages: dict[str, str], tmp_path: Path) -> None:
    leaderboard.write(store, PROTOCOLS, tmp_path / "leaderboard.md")
    files = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    assert {name: path.read_text() for name, path in files.items()} == pages


def test_another_board_has_pages_of_its_own(store: Store, tmp_path: Path) -> None:
    """Else `--to mine.md` beside the committed board would replace its pages."""
    leaderboard.write(store, [LTH], tmp_path / "mine.md")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine-board", "mine.md"]
    assert "(mine-board/README.md)" in (tmp_path / "mine.md").read_text()
    assert "[Back to the board](../../mine.md)" in (tmp_path / "mine-board" / "claims" / "lth.md").read_text()


def test_a_page_that_is_gone_edited_or_too_many_is_seen_and_mended(store: Store, tmp_path: Path) -> None:
    board = tmp_path / "leaderboard.md"
    made = leaderboard.render(store, [LTH])
    leaderboard.write(store, [LTH], board)
    assert leaderboard.problems(board, made) == {}
    folder = tmp_path / "docs" / "board"
    (folder / "README.md").unlink()
    (folder / "forest.svg").write_text("<svg/>")
    old, foreign = folder / "protocols" / "old.md", folder / "notes.txt"
    drawn = folder / "protocols" / "old.svg"
    drawn.write_text((folder / "summary.svg").read_text())
    old.write_text((folder / "claims" / "lth.md").read_text())
    foreign.write_text("mine")
    assert leaderboard.problems(board, made) == {
        folder / "README.md": "is missing",
        folder / "forest.svg": "is not what records and published numbers say",
        foreign: "is not a page of the board",
        old: "is not a page of the board",
        drawn: "is not a page of the board",
    }
    leaderboard.write(store, [LTH], board)
    assert leaderboard.problems(board, made) == {foreign: "is not a page of the board"}  # never deleted


def test_the_order_in_which_records_were_written_does_not_matter(
    store: Store, pages: dict[str, str], tmp_path: Path
) -> None:
    copy = Store(tmp_path)
    for path in sorted(store.root.rglob("*.json"), reverse=True):
        target = tmp_path / path.relative_to(store.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    assert leaderboard.render(copy, PROTOCOLS) == pages


def test_one_record_changes_the_board(store: Store, text: str, tmp_path: Path) -> None:
    fill(Store(tmp_path), LTH, lambda c: world(c) if c != Cell("imp", 7, 0) else Outcome(97.0, 5000))
    assert leaderboard.render(Store(tmp_path), [LTH]) != leaderboard.render(store, [LTH])
    assert text.startswith("*Generated by `lotterybench leaderboard`")


def test_every_section_and_every_claim_is_there(pages: dict[str, str], text: str) -> None:
    for heading in ("# Leaderboard", "## Papers", "## Findings", "## Which method is best?", "# How to read the board"):
        assert f"\n{heading}\n" in text
    for paper in (paper for paper in published.load_all() if paper.claims):
        page = pages[f"docs/board/claims/{paper.paper.key}.md"]
        assert f'<a id="claims-{paper.paper.key}"></a>{paper.paper.title}' in page
        for claim in paper.claims:
            assert page.count(f'<a id="{claim.id}"></a>') == 1
            assert claim.statement in page
        for left_out in paper.not_decided:
            assert left_out.reason in page
    assert "`lotterybench run lth/lenet-mnist:imp lth/lenet-mnist:imp+reinit`" in text
    assert not re.search(r"\bnan\b", text.lower())


def test_tables_are_whole_and_their_cells_short(text: str, committed: dict[str, str]) -> None:
    """Every row of a table has as many cells as its heading, none over 120 characters or padded."""
    for lines in (text.splitlines(), "\n".join(committed.values()).splitlines()):
        width = 0
        for line in lines:
            cells = re.split(r"(?<!\\)\|", line)[1:-1] if line.startswith("|") else []
            assert width in (0, len(cells)) or not cells, line[:80]
            assert all(len(cell.strip()) <= 120 and "  " not in cell.strip() for cell in cells), line
            width = len(cells)
    assert "\n|" in text


def test_every_link_of_every_page_leads_somewhere(committed: dict[str, str]) -> None:
    assert {name: wrong for name, page in committed.items() if (wrong := broken(ROOT / name, page))} == {}


def test_the_anchors_of_the_old_board_still_lead_to_their_pages(committed: dict[str, str]) -> None:
    """All of papers, and of claims of which something is measured as many as the page's size allows."""
    front = committed["leaderboard.md"]
    full = len(front.encode()) > 20_000 - 100  # no room for one more
    for paper in published.load_all():
        page = committed.get(f"docs/board/claims/{paper.paper.key}.md", "")
        if paper.claims:
            assert front.count(f'<a id="claims-{paper.paper.key}"></a>') == 1
        for claim in re.findall(r"^### <a id=\"([^\"]+)\"", page.partition("## Nothing measured yet")[0], re.MULTILINE):
            assert front.count(f'<a id="{claim}"></a>') == 1 or full
    assert '<a id="mnist1dmlp"></a>' in front


def test_the_front_page_keeps_its_size_however_much_is_measured(store: Store, committed: dict[str, str]) -> None:
    """At most 150 lines and 20 KB: as committed, and where every claim is decided on forty measured protocols."""
    papers = published.load_all()
    observed = {p.id: gathered(p, [store]) for p in PROTOCOLS}
    busy = {f"{p.id}-{copy}": observed[p.id] for copy in range(20) for p in (LTH, MNIST1D)}
    decided = [(paper, decide_paper(paper, observed)) for paper in papers]
    for verdict in ("reproduced", "deviates"):
        full = [(paper, [replace(d, verdict=verdict) for d in found]) for paper, found in decided]
        made = Front(full, {**observed, **busy}, "docs/board", "").text()
        assert made.count("\n") <= 150
        assert len(made.encode()) <= 20_000
    assert committed["leaderboard.md"].count("\n") <= 150
    assert len(committed["leaderboard.md"].encode()) <= 20_000


def test_ties_share_a_rank_within_a_cost_group(store: Store) -> None:
    seen = Observations(LTH, store.records(LTH))
    ranks = {s.method: (s.cost_group, s.rank) for s in standings(seen, 7)}
    assert ranks["imp"] == ("several trainings", 1)
    assert ranks["synflow"] == ("no data", 1)
    assert ranks["random"] == ranks["magnitude"] == ("no data", 2)
    assert ranks["snip"] == ("few examples", 1)
    assert ranks["imp+reinit"] == ("control", None)
    means = [s.accuracy.mean for s in standings(seen, 7) if s.cost_group == "no data"]
    assert means == sorted(means, reverse=True)


def test_failed_runs_are_listed(text: str) -> None:
    assert "- grasp at 21.1 %, seed 1: collapsed: no gradient" in text


def test_counts_of_runs(text: str) -> None:
    total = sum(len(cells_of(LTH, m)) for m in ["dense", *LTH.methods])
    finished = sum(1 for m in ["dense", *LTH.methods] for c in cells_of(LTH, m) if (o := world(c)) and not o.failed)
    assert f"{finished:,} of {total:,} runs measured" in text


def test_unmeasured_and_unplanned_cells_differ(pages: dict[str, str]) -> None:
    page = pages["docs/board/protocols/lth-lenet-mnist.md"].partition("## ")[0].partition("<details>")[0]
    rows = {
        line.split("|")[1].strip(): [c.strip() for c in line.split("|")[3:-1]]
        for line in page.splitlines()
        if "|" in line
    }
    assert rows["synflow"][1].endswith("(3)**")  # of those without data it is best
    assert "..." in rows["grasp"]
    assert rows["imp+shuffle"][0] == ""


@pytest.mark.parametrize(
    ("protocol", "levels"), [(LTH, (3, 7, 9, 12, 15, 18)), (MNIST1D, (49, 79, 89, 91, 93, 96))], ids=["lth", "mnist1d"]
)
def test_the_levels_shown_are_those_that_the_paper_names(protocol: Protocol, levels: tuple[int, ...]) -> None:
    assert shown_levels(protocol, published.load_all()) == levels


def test_a_protocol_without_a_paper_shows_all_shared_levels() -> None:
    assert shown_levels(LTH, [])[:3] == (1, 2, 3)


def test_empty_and_missing_results(tmp_path: Path) -> None:
    pages = leaderboard.render(Store(tmp_path / "nowhere"), PROTOCOLS)
    text = "\n".join(pages.values())
    waiting = next(line for line in text.splitlines() if line.startswith("| `lth/lenet-mnist`"))
    assert [cell.strip() for cell in waiting.split("|")][-2] == "460"
    assert all(text.count(f"| `{protocol.id}`") == 1 for protocol in PROTOCOLS)
    claims = [claim for paper in published.load_all() for claim in paper.claims]
    counted = [claim for claim in claims if not any(claim.cells.values())]  # from the protocol: no run is needed
    assert len(counted) == 3
    assert text.count(": not measured\n") >= len(claims) - len(counted)
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "empty").mkdir()
    assert leaderboard.render(Store(tmp_path / "empty"), PROTOCOLS) == pages


def test_a_board_that_cannot_be_written_is_named(store: Store, tmp_path: Path) -> None:
    (tmp_path / "folder.md").mkdir()
    with pytest.raises(EnvironmentProblem, match=r"folder\.md"):
        leaderboard.write(store, PROTOCOLS, tmp_path / "folder.md")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.md"]


@pytest.mark.parametrize("name", ["a.png", "a.svg"])
def test_a_figure_is_the_same_for_the_same_records(store: Store, tmp_path: Path, name: str) -> None:
    figure.draw(store, LTH, tmp_path / name)
    first = (tmp_path / name).read_bytes()
    figure.draw(store, LTH, tmp_path / name)
    assert (tmp_path / name).read_bytes() == first
    assert len(first) > 5000


def test_a_figure_of_a_half_measured_protocol_shows_the_published_rounds(store: Store, tmp_path: Path) -> None:
    figure.draw(store, MNIST1D, tmp_path / "m.svg")
    drawn = (tmp_path / "m.svg").read_text()
    assert "iterative, published" in drawn
    assert "random mask" not in drawn  # not measured


def test_no_figure_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing is measured"):
        figure.draw(Store(tmp_path), LTH, tmp_path / "a.png")
    with pytest.raises(BadInput, match=r"\.png or \.svg"):
        figure.draw(Store(tmp_path), LTH, tmp_path / "a.gif")


def test_earlier_versions_stand_with_their_records_and_what_was_mended(store: Store) -> None:
    """The current version has no record in this folder, the first one all of them."""
    text = leaderboard.render(store, protocols.load_all())["docs/board/README.md"]
    line = next(line for line in text.splitlines() if line.startswith("- `lth/lenet-mnist@1`"))
    assert f": {len(store.records(LTH)):,} records." in line
    assert str(protocols.load(LTH.id).changes)[:40] in line
    assert "Earlier versions" not in leaderboard.render(store, [LTH])["docs/board/README.md"]
