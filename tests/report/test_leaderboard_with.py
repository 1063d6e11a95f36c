"""Plugins on the board: ranked beside the protocol's methods, marked, from further folders that are only read."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import Outcome, fill, record
from click.testing import CliRunner
from submissions import facts

from benchmark import protocols
from benchmark.claims.observations import gathered
from benchmark.cli.main import cli
from benchmark.plugins.describe import submission_to
from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell, cells_of
from benchmark.records import submissions
from benchmark.records.store import Store
from benchmark.records.submissions import Submission
from benchmark.records.verifications import VERIFICATION_SCHEMA, Verification, digests_of
from benchmark.report import leaderboard
from benchmark.report.html.site import build
from benchmark.report.rankings import standings
from benchmark.utils.errors import BadInput

LTH = protocols.load("lth/lenet-mnist@1")


def world(cell: Cell) -> Outcome:
    """IMP best, random worst; dense anywhere."""
    base = {"imp": 98.0, "random": 96.0}.get(cell.method, 97.0)
    return Outcome(base + 0.01 * (cell.seed * 7 % 5), 5000)


def measured(store: Store, protocol: Protocol, submission: Submission, accuracy: float) -> None:
    """A submission with a record of every cell, and the dense network."""
    submissions.write(store, protocol, submission)
    wider = submissions.added_to(protocol, {submission.name: submission})
    for cell in cells_of(wider, submission.name):
        made = record(wider, cell, Outcome(accuracy + 0.01 * (cell.seed * 3 % 5), 5000))
        method = made.method.model_copy(
            update={"pruner_digest": submission.plugin_digest, "parameters": submission.parameters}
        )
        store.write(protocol, cell, made.model_copy(update={"method": method}), None)
    fill(store, protocol, lambda _: Outcome(50.0, 1), ["dense"])


@pytest.fixture
def ours(tmp_path: Path) -> Store:
    store = Store(tmp_path / "ours")
    fill(store, LTH, world, ["dense", "imp", "random"])
    return store


@pytest.fixture
def mine(tmp_path: Path) -> Store:
    store = Store(tmp_path / "mine")
    measured(store, LTH, submission_to(LTH, facts(parameters={"alpha": 0.5}, paper="a <b>|paper")), 97.5)
    return store


def files(store: Store) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}


def test_a_plugin_is_ranked_among_the_protocols_methods(ours: Store, mine: Store) -> None:
    seen = gathered(LTH, [ours, mine])
    found = standings(seen, 7)
    assert [(s.method, s.cost_group, s.rank) for s in found] == [
        ("random", "no data", 1), ("mine@alpha=0.5", "few examples", 1), ("imp", "several trainings", 1)
    ]  # fmt: skip
    assert [s.mark for s in found] == [None, "reported", None]
    assert found[1].label == "mine@alpha=0.5 (reported)"
    dense = seen.by_seed("last-accuracy", ("dense", 0))
    assert set(dense.values()) == {world(Cell("dense", 0, s)).accuracy for s in LTH.seeds}  # the first folder's


def test_what_the_board_shows_of_a_plugin(ours: Store, mine: Store) -> None:
    before = files(ours) | files(mine)
    text = whole(ours, mine)
    row = next(line for line in text.splitlines() if line.startswith("| mine@alpha=0.5 (reported)"))
    assert row.count("97.5") == 6  # the levels that the paper names, of 3, 7, 9, 12, 15, 18
    facts_row = next(line for line in text.splitlines() if line.startswith("| mine@alpha=0.5 ") and "labels" in line)
    for word in ("alpha = 0.5", "global, 1 round", "a &lt;b&gt;\\|paper", "reported"):
        assert word in facts_row
    assert f"`{mine.root}`" in text
    assert files(ours) | files(mine) == before
    assert leaderboard.render(ours, [LTH]) == leaderboard.render(ours, [LTH], [])
    assert "mine@" not in whole(ours)


def whole(store: Store, *extra: Store) -> str:
    """All pages of the board."""
    return "\n".join(leaderboard.render(store, [LTH], extra).values())


def verified(store: Store, by: str) -> None:
    """The mark of a verification beside the method's records."""
    submission = submissions.of_protocol(store, LTH)["mine@alpha=0.5"]
    folder = store.folder(LTH, submission.name)
    mark = Verification(
        schema=VERIFICATION_SCHEMA, name=submission.name, protocol=submission.protocol,
        plugin_digest=submission.plugin_digest, by=by, when="2026-11-21T00:00:00Z", cells=6, identical=6,
        fresh_cells=2, excludes="", files=digests_of(folder), signature=None,
    )  # fmt: skip
    (folder / submissions.VERIFICATION_FILE).write_text(mark.dumps())


def test_a_verification_shows_by_whom(ours: Store, mine: Store) -> None:
    verified(mine, "A|B <i>")
    assert "verified (A\\|B &lt;i&gt;, 2026-11-21T00:00:00Z, 6 cells, 2 at fresh seeds, unsigned)" in whole(ours, mine)


def test_the_report_shows_a_plugin_as_the_board_does(mine: Store, tmp_path: Path) -> None:
    verified(mine, "A|B <i>")
    build(mine, [LTH], tmp_path / "site")
    page = (tmp_path / "site" / "protocols" / "lth--lenet-mnist.html").read_text()
    assert (
        page.count(
            "mine@alpha=0.5 (verified (A|B &lt;i&gt;, 2026-11-21T00:00:00Z, 6 cells, 2 at fresh seeds, unsigned))"
        )
        == 6
    )  # in the rankings


def test_folders_that_contradict_each_other_are_refused(ours: Store, mine: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    measured(other, LTH, submission_to(LTH, facts(parameters={"alpha": 0.5}, digest="1" * 64)), 99.9)
    with pytest.raises(BadInput, match="different plugins of this name"):
        leaderboard.render(ours, [LTH], [mine, other])
    cell = mine.folder(LTH, "mine@alpha=0.5") / "level-07_seed-0.json"
    cell.write_text(cell.read_text().replace('"pruner_digest": "0', '"pruner_digest": "1'))
    with pytest.raises(BadInput, match="was not made by the plugin"):
        leaderboard.render(ours, [LTH], [mine])


def test_the_command_writes_no_file_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command knows the current version only."""
    current, ours, mine = protocols.load(LTH.id), Store(tmp_path / "ours"), Store(tmp_path / "mine")
    fill(ours, current, world, ["dense", "imp", "random"])
    measured(mine, current, submission_to(current, facts(parameters={"alpha": 0.5})), 97.5)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leaderboard.md").write_text("precious")
    place = ["leaderboard", "--results", str(ours.root), "--with", str(mine.root)]
    shown = CliRunner().invoke(cli, place)
    assert shown.exit_code == 0
    assert "mine@alpha=0.5 (reported)" in shown.output
    assert "mnist1d" not in shown.output
    assert (tmp_path / "leaderboard.md").read_text() == "precious"
    written = CliRunner().invoke(cli, [*place, "--to", "new.md"])
    assert written.stdout.startswith("Wrote new.md and ")
    assert "50 of 50 dense networks in" in written.stderr
    assert written.output.endswith(" files in new-board\n")
    assert CliRunner().invoke(cli, [*place, "--to", "new.md", "--check"]).exit_code == 0
    for arguments, words in (
        ([*place, "--check"], "Give --to"),
        ([*place, "--with", "nowhere"], "there is no such folder"),
        ([*place[:3], "--with", "."], "holds no record"),
    ):
        assert words in str(CliRunner().invoke(cli, arguments).exception)
