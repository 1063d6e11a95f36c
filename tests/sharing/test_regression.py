"""Regression of headline numbers: it passes on what is committed, and each kind of perturbation is caught."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from made_once import copy_of

from benchmark import protocols
from benchmark.api import Masks, Scores
from benchmark.claims import papers as published
from benchmark.claims import table_reader
from benchmark.cli.main import cli
from benchmark.protocols import Protocol, lock
from benchmark.protocols.cells import DENSE, Cell, cells_of
from benchmark.pruning import schedule
from benchmark.records.store import Store
from benchmark.report import figure, leaderboard
from benchmark.sharing import fsck
from benchmark.sharing import regression as remeasured
from benchmark.sharing.derive import RegressionResult, derive
from benchmark.sharing.regression import FIXED, FixedCells, remeasure
from benchmark.utils import strict_yaml
from benchmark.utils.errors import BadInput, EnvironmentProblem

ROOT = Path(__file__).parents[2]
KNOWN = protocols.load_all()
MNIST1D = protocols.load("mnist1d/mlp")
COMMITTED = Store(ROOT / "results")


def test_the_committed_numbers_follow_from_the_committed_records() -> None:
    found = derive(COMMITTED, KNOWN, ROOT / "leaderboard.md", ROOT / "no pictures")
    assert not found.reasons
    claims = sum(len(paper.claims) + len(paper.not_decided) for paper in published.load_all())
    assert any("leaderboard.md and " in line and f"with {claims} claims, byte" in line for line in found.agreed)


# Perturbations of what is committed, on the board of two protocols: that of all takes seconds to derive

FEW = [p for p in KNOWN if p.id in (MNIST1D.id, "lth/lenet-mnist")]
Derived = Callable[..., RegressionResult]


@pytest.fixture(scope="module")
def board_of_few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    board = tmp_path_factory.mktemp("few") / "leaderboard.md"
    leaderboard.write(COMMITTED, FEW, board)
    return board


@pytest.fixture
def few(board_of_few: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The board, while there are no other protocols."""
    locked = {key: digest for key, digest in lock.read().items() if key.partition("@")[0] in {p.id for p in FEW}}
    monkeypatch.setattr(lock, "read", lambda: dict(locked))
    monkeypatch.setattr(protocols, "load_all", lambda: FEW)
    return board_of_few


@pytest.fixture
def derived(few: Path) -> Derived:
    """Everything derived again and compared with the board of committed records; pictures only where they are asked
    for."""

    def from_(
        store: Store = COMMITTED, known: list[Protocol] = FEW, figures: Path = ROOT / "no pictures"
    ) -> RegressionResult:
        return derive(store, known, few, figures)

    return from_


def copied(tmp_path: Path) -> Store:
    """The committed records, to be perturbed."""
    for protocol in FEW:
        own = shutil.ignore_patterns("*.npz")
        shutil.copytree(ROOT / "results" / protocol.key, tmp_path / "results" / protocol.key, ignore=own)
    return Store(tmp_path / "results")


def test_a_perturbed_record_is_caught(tmp_path: Path, derived: Derived) -> None:
    store = copied(tmp_path)
    path = store.record_path(MNIST1D, Cell("imp", 91, 7))
    document = json.loads(path.read_text())
    document["measured"]["metrics"]["test_accuracy"]["last"] += 0.5
    path.write_text(json.dumps(document, indent=1) + "\n")
    reasons = derived(store).reasons
    assert len(reasons) == 1
    assert "leaderboard.md" in reasons[0]
    assert "mnist1d-3" in reasons[0]  # the claim on this very density
    assert "lth-1," not in reasons[0]


@pytest.mark.parametrize("change", ["delete", "damage"])
def test_a_record_that_is_gone_or_unreadable_is_caught(
    tmp_path: Path, derived: Derived, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = copied(tmp_path)
    path = store.record_path(MNIST1D, Cell("imp", 91, 7))
    if change == "delete":
        path.unlink()
    else:
        path.write_text("{")
    reasons = derived(store).reasons
    assert len(reasons) == 1
    assert "leaderboard.md" in reasons[0]
    assert (str(path) in caplog.text) == (change == "damage")


def with_margin(points: float) -> Protocol:
    document = strict_yaml.load_file(protocols.protocols_folder() / "mnist1d" / "mlp.yaml")
    document["statistics"]["margins"]["seed_sd_multiple"] = points
    return protocols.parse(document, "mlp.yaml")


def test_a_perturbed_margin_is_caught_by_the_lock_and_by_the_board(derived: Derived) -> None:
    known = [with_margin(1.0) if p.id == MNIST1D.id else p for p in FEW]
    reasons = derived(known=known).reasons
    assert any("mnist1d/mlp@2 was edited after it was locked" in reason for reason in reasons)
    assert any("leaderboard.md" in reason for reason in reasons)  # its records no longer count


def test_a_margin_perturbed_behind_the_locks_back_changes_verdicts(derived: Derived) -> None:
    edited = with_margin(1.0)
    edited.__dict__["digest"] = MNIST1D.digest
    reasons = derived(known=[edited if p.id == MNIST1D.id else p for p in FEW]).reasons
    assert len(reasons) == 1
    assert "mnist1d-curve-imp" in reasons[0]


def test_a_locked_protocol_that_is_gone_is_caught(derived: Derived) -> None:
    reasons = derived(known=[p for p in FEW if p.id != MNIST1D.id]).reasons
    assert any("mnist1d/mlp@2 is locked, and its protocol is gone" in reason for reason in reasons)


@pytest.fixture
def numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the published numbers that is read in place of the package's."""
    shutil.copytree(published.folder(), tmp_path / "papers")
    shutil.copytree(table_reader.tables_folder(), tmp_path / "tables")
    monkeypatch.setattr(published, "folder", lambda: tmp_path / "papers")
    monkeypatch.setattr(table_reader, "tables_folder", lambda: tmp_path / "tables")
    published.forget()
    yield tmp_path
    published.forget()


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("papers/mnist1d.yaml", r"values: \[75\.6, 74\.4\]", "values: [75.6, 73.4]", "mnist1d-3"),
        ("tables/mnist1d_rounds.csv", r"(?m)^(\w+,0,80,.*,)[0-9.]+$", r"\g<1>50.0", "mnist1d-curve-imp"),
    ],
)
def test_a_perturbed_published_number_is_caught(
    numbers: Path, derived: Derived, file: str, old: str, new: str, named: str
) -> None:
    text, changes = re.subn(old, new, (numbers / file).read_text())
    assert changes
    (numbers / file).write_text(text)
    reasons = derived().reasons
    assert len(reasons) == 1
    assert named in reasons[0]


def test_a_copy_of_the_published_numbers_says_the_same(numbers: Path, derived: Derived) -> None:
    assert published.folder() == numbers / "papers"
    assert not derived().reasons


def test_a_perturbed_statistic_is_caught(derived: Derived, monkeypatch: pytest.MonkeyPatch) -> None:
    """A t quantile with one degree of freedom too many: hardly visible, and every interval says so."""
    from benchmark.claims import statistics

    exact = statistics.quantile
    monkeypatch.setattr(statistics, "quantile", lambda p, df: exact(p, df + 1))
    assert any("leaderboard.md" in reason for reason in derived().reasons)


def test_pictures_are_those_of_the_records_and_a_changed_one_is_caught(tmp_path: Path, derived: Derived) -> None:
    for path in (ROOT / "docs").glob("*.svg"):
        shutil.copy(path, tmp_path)
    drawn = figure.readme_figures(tmp_path, FEW, COMMITTED)
    assert {path.name for path in drawn} >= {"mnist1d-mlp.svg", "lth-lenet-mnist.svg"}
    assert all(f"(docs/{path.name})" in (ROOT / "README.md").read_text() for path in drawn)
    changed, foreign = tmp_path / "mnist1d-mlp.svg", tmp_path / "lth-lenet-mnist.svg"
    changed.write_text(changed.read_text().replace("#0072b2", "#ff0000", 1))
    foreign.write_text(foreign.read_text().replace("matplotlib", "matplotlib 0.0 or", 1))
    found = derived(figures=tmp_path)
    if figure.drawn_by() in changed.read_text():
        assert [reason.partition(" is not the picture")[0] for reason in found.reasons] == [str(changed)]
    assert any(str(foreign) in note for note in found.notes)


def test_the_committed_pictures_are_those_of_the_records(tmp_path: Path) -> None:
    for path, protocol in figure.readme_figures(ROOT / "docs", KNOWN, COMMITTED).items():
        if figure.drawn_by() not in path.read_text():
            pytest.skip(f"{path.name} was drawn by another version of matplotlib")
        figure.draw(Store(ROOT / "results"), protocol, tmp_path / path.name)
        command = f"lotterybench figure {protocol.id} --to docs/{path.name}"
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), f"out of date. Draw it again: {command}"


# Making cells again, on a protocol that takes a second

MASKS = (Cell("random", 3, 0), Cell("magnitude", 3, 0), Cell("synflow", 4, 1))
CHAIN = (Cell(DENSE, 0, 0), Cell("imp", 1, 0), Cell("imp", 2, 0))
TINY_CELLS = FixedCells("tests/tiny", masks=MASKS, trained=CHAIN)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, tiny_protocol: Protocol, tiny_results: Path) -> Store:
    methods = {cell.method for cell in (*MASKS, *CHAIN)}
    return copy_of(tiny_results, tmp_path_factory.mktemp("measured"), tiny_protocol, methods)


def again(protocol: Protocol, store: Store, tmp_path: Path, fixed: FixedCells = TINY_CELLS) -> RegressionResult:
    return remeasure(protocol, store, fixed, tmp_path / "again", lambda _: None)


def elsewhere(store: Store, protocol: Protocol, tmp_path: Path, edit: Callable[[Any], None] = lambda _: None) -> Store:
    """The records as if another machine with another torch had made them; `edit` changes each document."""
    shutil.copytree(store.root, tmp_path / "elsewhere")
    for path in (tmp_path / "elsewhere" / protocol.key).glob("*/level-*.json"):
        document = json.loads(path.read_text())
        document["provenance"]["device"] = "cpu: another"
        document["provenance"]["packages"]["torch"] = "1.0"
        edit(document)
        path.write_text(json.dumps(document, indent=1) + "\n")
    return Store(tmp_path / "elsewhere")


def test_the_same_code_makes_the_same_cells(tiny_protocol: Protocol, measured: Store, tmp_path: Path) -> None:
    found = again(tiny_protocol, measured, tmp_path)
    assert not found.reasons
    assert "3 of 3 masks" in found.agreed[0]
    assert "3 of 3 cells" in found.agreed[1]


def test_a_perturbed_mask_rule_is_caught(
    tiny_protocol: Protocol, measured: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lowest scores stay: every count, in all and by layer for layerwise masks, is as it was."""
    exact = schedule.masks_from_scores

    def lowest(scores: Scores, masks: Masks, *rest: Any) -> Masks:
        return exact({name: -score for name, score in scores.items()}, masks, *rest)

    monkeypatch.setattr(schedule, "masks_from_scores", lowest)
    reasons = again(tiny_protocol, measured, tmp_path, FixedCells("tests/tiny", MASKS)).reasons
    assert [reason.partition(": ")[2] for reason in reasons] == ["another mask than recorded"] * len(MASKS)


def test_a_perturbed_training_is_caught(
    tiny_protocol: Protocol, measured: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One part in a million of the initial weights: accuracies may stay, bits do not."""
    from benchmark.harness import start as tickets

    exact = tickets.initial_state
    monkeypatch.setattr(tickets, "initial_state", lambda *a: {name: t * (1 + 1e-6) for name, t in exact(*a).items()})
    reasons = again(tiny_protocol, measured, tmp_path, FixedCells("tests/tiny", (), CHAIN)).reasons
    assert len(reasons) == len(CHAIN)
    assert all("on the same processor and versions" in reason for reason in reasons)


def test_elsewhere_small_differences_are_tolerated(tiny_protocol: Protocol, measured: Store, tmp_path: Path) -> None:
    def nudge(document: Any) -> None:
        document["mask"]["sha256"] = "0" * 64
        document["measured"]["metrics"]["test_accuracy"]["last"] += 0.5

    found = again(tiny_protocol, elsewhere(measured, tiny_protocol, tmp_path, nudge), tmp_path)
    assert not found.reasons
    assert "0 of 3 masks" in found.agreed[0]
    assert "0 of 3 cells" in found.agreed[1]


def test_elsewhere_large_differences_are_caught(tiny_protocol: Protocol, measured: Store, tmp_path: Path) -> None:
    def shift(document: Any) -> None:
        document["mask"]["sha256"] = "0" * 64
        if document["mask"]["layers"] and document["method"]["name"] == "synflow":
            document["mask"]["layers"]["fc1"]["kept"] += 3
            document["mask"]["layers"]["fc2"]["kept"] -= 3
        document["measured"]["metrics"]["test_accuracy"]["last"] /= 100

    reasons = again(tiny_protocol, elsewhere(measured, tiny_protocol, tmp_path, shift), tmp_path).reasons
    assert [r for r in reasons if "synflow level 4" in r and "weights in fc1" in r]
    (of_all,) = [reason for reason in reasons if "not within" in reason]
    assert of_all.startswith(f"{tiny_protocol.key}: {len(CHAIN)} cells made again are ")


def test_random_masks_need_only_the_same_torch(tiny_protocol: Protocol, measured: Store, tmp_path: Path) -> None:
    def another_machine(document: Any) -> None:
        document["mask"]["sha256"] = "0" * 64
        document["provenance"]["packages"]["torch"] = torch.__version__.partition("+")[0]

    store = elsewhere(measured, tiny_protocol, tmp_path, another_machine)
    reasons = again(tiny_protocol, store, tmp_path, FixedCells("tests/tiny", MASKS)).reasons
    assert len(reasons) == 1
    assert "random level 3" in reasons[0]


def test_changed_code_of_a_pruner_is_named(tiny_protocol: Protocol, measured: Store, tmp_path: Path) -> None:
    def other_code(document: Any) -> None:
        document["mask"]["sha256"] = "0" * 64
        document["method"]["pruner_digest"] = "1" * 64 if document["method"]["pruner"] else None

    store = elsewhere(measured, tiny_protocol, tmp_path, other_code)
    fixed = FixedCells("tests/tiny", (Cell("random", 3, 0),))
    for path in store.folder(tiny_protocol, "random").glob("*.json"):
        document = json.loads(path.read_text())
        document["mask"]["kept"] += 1
        path.write_text(json.dumps(document, indent=1) + "\n")
    reasons = again(tiny_protocol, store, tmp_path, fixed).reasons
    assert len(reasons) == 1
    assert "are recorded (the code of 'random' has changed since)" in reasons[0]


def test_the_fixed_cells_have_records_and_need_no_data() -> None:
    from benchmark.plugins.load import find

    store = Store(ROOT / "results")
    for fixed in FIXED:
        protocol = protocols.load(fixed.protocol)
        for cell in (*fixed.masks, *fixed.trained):
            assert cell in cells_of(protocol, cell.method)
            assert store.read(protocol, cell) is not None, cell
        assert {find(protocol.pruning_method(cell.method).pruner).kind.needs for cell in fixed.masks} == {"nothing"}
        assert not fixed.trained or protocol.data.name == "mnist1d"


# Exit codes


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["regression", *arguments])


@pytest.fixture
def sound_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every digest holds: what `fsck` looks at is for its own tests, as it takes its time. Lines put in here are what
    it finds."""
    wrong: list[str] = []
    monkeypatch.setattr(fsck, "fsck", lambda _store: fsck.Found(wrong=wrong))
    return wrong


def test_exit_code_0_and_1(tmp_path: Path, few: Path, monkeypatch: pytest.MonkeyPatch, sound_files: list[str]) -> None:
    monkeypatch.chdir(ROOT)
    fine = invoke("--derive-only", "--board", str(few), "--figures", str(tmp_path))
    assert (fine.exit_code, fine.output.splitlines()[-1]) == (0, "No regression.")
    sound_files.append("a curve: is gone")
    other = tmp_path / "leaderboard.md"
    other.write_text(few.read_text() + "\n")
    shutil.copytree(few.parent / "docs" / "board", tmp_path / "docs" / "board")
    page = tmp_path / "docs" / "board" / "claims" / "mnist1d.md"
    page.write_text(page.read_text().replace("tickets at 91.9 % sparsity", "tickets at 90 % sparsity"))
    (page.parent / "more.md").write_text("of nobody")
    wrong = invoke("--derive-only", "--board", str(other), "--figures", str(tmp_path / "no pictures"))
    assert wrong.exit_code == 1
    assert "REGRESSION: a curve: is gone" in wrong.output
    assert f"REGRESSION: {other} or a page behind it: {other} is not" in wrong.output
    assert f"{page} is not what records and published numbers say" in wrong.output
    assert f"{page.parent / 'more.md'} is not a page of the board" in wrong.output
    assert "Claims that read differently: mnist1d-3." in wrong.output


def test_exit_code_2_where_nothing_is_measured(tmp_path: Path) -> None:
    empty = tmp_path / "results"
    empty.mkdir()
    leaderboard.write(Store(empty), KNOWN, tmp_path / "board.md")
    arguments = ["--results", str(empty), "--board", str(tmp_path / "board.md"), "--figures", str(tmp_path)]
    nothing = invoke(*arguments)
    assert nothing.exit_code == 2
    assert "Nothing is measured" in nothing.output
    with pytest.raises(BadInput, match="no such file"):
        CliRunner().invoke(cli, ["regression", *arguments[:2], "--board", "nowhere.md"], catch_exceptions=False)


@pytest.mark.usefixtures("sound_files")
def test_exit_code_3_without_torch(tmp_path: Path, few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delattr("benchmark.sharing.regression")
    monkeypatch.delitem(sys.modules, remeasured.__name__)
    monkeypatch.setitem(sys.modules, "torch", None)
    result = invoke("--board", str(few), "--figures", str(tmp_path))
    assert isinstance(result.exception, EnvironmentProblem)
    assert result.exception.exit_code == 3
    assert "torch" in str(result.exception)
