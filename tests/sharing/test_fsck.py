"""fsck: each way in which a file is damaged, lost or swapped is one line that names it, and the rest is looked at."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from builders import Outcome, fill
from click.testing import CliRunner

from benchmark import protocols
from benchmark.cli.main import cli
from benchmark.protocols import Protocol, load, lock
from benchmark.protocols.cells import Cell
from benchmark.records.store import Store
from benchmark.sharing.fsck import fsck
from benchmark.sharing.integrity import contradictions

ROOT = Path(__file__).parents[2]
KEY = "rigl/lenet-mnist@1"  # few records, among them a chain's masks and curves
CHAIN = "lth/lenet-mnist@1/imp-rewind"


def copied(key: str, root: Path) -> Path:
    """The committed files below one folder, linked, so that they cost nothing until one is replaced."""
    shutil.copytree(ROOT / "results" / key, root / key, copy_function=os.link)
    return root / key


def rewritten(path: Path, content: bytes) -> None:
    """Another file in its place: the committed one is linked, not copied."""
    path.unlink()
    path.write_bytes(content)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    rewritten(path, bytes(content))


def wrong(root: Path) -> list[str]:
    """What fsck says of a folder."""
    return fsck(Store(root)).wrong


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound folder."""
    return copied(KEY, tmp_path)


def test_a_sound_folder_is_sound(folder: Path, tmp_path: Path) -> None:
    found = fsck(Store(tmp_path))
    assert not found.wrong
    assert found.records == len(list(folder.rglob("level-*.json"))) > 0
    assert found.curves == len(list(folder.rglob("*.curves.npz"))) > 0


def first(folder: Path, pattern: str) -> Path:
    return sorted(folder.rglob(pattern))[0]


DAMAGE: dict[str, tuple[Callable[[Path], Path], str]] = {}


def damage(words: str) -> Callable[[Callable[[Path], Path]], Callable[[Path], Path]]:
    """Register a way to damage a folder, which gives the file that is to be named, and words of the reason."""

    def registered(way: Callable[[Path], Path]) -> Callable[[Path], Path]:
        DAMAGE[way.__name__] = way, words
        return way

    return registered


@damage("has no curves beside it")
def a_deleted_curve(folder: Path) -> Path:
    path = first(folder, "*.curves.npz")
    path.unlink()
    return path.with_name(path.name.replace(".curves.npz", ".json"))


@damage("names other curves than those beside it")
def a_flipped_curve(folder: Path) -> Path:
    path = first(folder, "*.curves.npz")
    flipped(path)
    return path.with_name(path.name.replace(".curves.npz", ".json"))


@damage("names other curves")
def swapped_curves(folder: Path) -> Path:
    one, other = sorted(folder.rglob("*.curves.npz"))[:2]
    rewritten(one, other.read_bytes())
    return one.with_name(one.name.replace(".curves.npz", ".json"))


@damage("curves without their record")
def a_deleted_record(folder: Path) -> Path:
    path = first(folder, "level-*.json")
    path.unlink()
    return path.with_name(path.name.replace(".json", ".curves.npz"))


@damage("laid out otherwise")
def a_record_that_was_formatted(folder: Path) -> Path:
    path = first(folder, "level-*.json")
    rewritten(path, json.dumps(json.loads(path.read_text())).encode())
    return path


@damage("was made with another document")
def a_record_of_another_document(folder: Path) -> Path:
    path = first(folder, "level-*.json")
    digest = protocols.load(KEY).digest
    rewritten(path, path.read_bytes().replace(digest.encode(), b"0" * 64))
    return path


@damage("is no file of a cell")
def a_copy(folder: Path) -> Path:
    path = first(folder, "level-*.json")
    copy = path.with_name("copy of " + path.name)
    copy.write_bytes(path.read_bytes())
    return copy


@pytest.mark.parametrize("name", sorted(DAMAGE))
def test_every_damage_is_one_line_that_names_the_file(folder: Path, tmp_path: Path, name: str) -> None:
    way, words = DAMAGE[name]
    path = way(folder)
    (line,) = wrong(tmp_path)
    assert str(path) in line
    assert words in line


def test_all_of_them_are_named_at_once(folder: Path, tmp_path: Path) -> None:
    a_copy(folder)
    paths = sorted(folder.rglob("level-*.json"))
    for path in paths[:3]:
        rewritten(path, b"{")
    lines = wrong(tmp_path)
    assert len(lines) == 4
    assert all(any(str(path) in line for line in lines) for path in paths[:3])


def test_masks_of_a_chain_prove_each_level(tmp_path: Path) -> None:
    """A chain's masks that are gone, cut short or damaged, by a committed chain."""
    folder = copied(CHAIN, tmp_path)
    for path in folder.glob("*seed-[!1]*"):
        path.unlink()
    assert not wrong(tmp_path)
    masks = first(folder, "*.masks.npz")
    whole = masks.read_bytes()
    flipped(masks)
    assert any(str(masks) in line for line in wrong(tmp_path))
    rewritten(masks, whole)
    masks.unlink()
    (line,) = wrong(tmp_path)
    assert f"{masks}: is not there" in line


def test_the_lock_is_missed_by_every_verb(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absent, garbage or emptied: fsck says so and looks at the rest, other verbs do not go on."""
    broken = tmp_path / "LOCK.json"
    monkeypatch.setattr(lock, "lock_path", lambda: broken)
    a_copy(folder)
    for content in (None, "{", "[]", "{}", '{"lth/lenet-mnist@1": 7}'):
        if content is not None:
            broken.write_text(content)
        for verb in (["score"], ["status"], ["list"], ["info", "mnist1d/mlp"], ["plan"], ["leaderboard", "--check"]):
            done = CliRunner().invoke(
                cli, [*verb, *(["--results", str(tmp_path)] if verb[0] not in {"list", "info"} else [])]
            )
            assert done.exit_code != 0
            assert "LOCK.json: cannot be read" in str(done.exception), verb
        lines = [line for line in wrong(tmp_path) if str(broken) not in line or "cannot be read" in line]
        assert len(lines) == 2, lines


def test_one_bad_record_names_itself_and_stops_no_other_verb(
    tmp_path: Path, tiny_protocol: Protocol, tiny_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    fill(store, tiny_protocol, lambda _: Outcome(90.0))
    total = len(store.records(tiny_protocol))
    path = sorted(tmp_path.rglob("level-*.json"))[0]
    path.write_text("{")
    done = CliRunner().invoke(cli, ["status", str(tiny_path), "--results", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert caplog.text.count(str(path)) == 1
    assert len(Store(tmp_path).records(tiny_protocol)) == total - 1


def test_the_verb(folder: Path, tmp_path: Path) -> None:
    whole = CliRunner().invoke(cli, ["fsck", "--results", str(tmp_path)])
    assert (whole.exit_code, "every digest holds" in whole.output) == (0, True), whole.output
    path = a_copy(folder)
    done = CliRunner().invoke(cli, ["fsck", "--quiet", "--results", str(tmp_path)])
    assert done.exit_code == 1
    assert f"WRONG: {path}: is no file" in done.output


@pytest.mark.long
def test_every_committed_file_is_sound() -> None:
    found = fsck(Store(ROOT / "results"))
    assert not found.wrong
    assert found.records > 4000


def test_what_claims_ask_of_an_analysis_must_be_there_and_nothing_else() -> None:
    """A deep decoder has no encoder whose density its own could be compared with, and no claim asks for that."""
    protocol = load("oes/decoder-pepper-64")
    assert "decoder_to_encoder" in protocol.statistics.margins.analysed
    record = Store(ROOT / "results").read(protocol, Cell("deep-decoder", 0, protocol.seeds[0]))
    assert record is not None
    assert record.analysed is not None
    assert list(contradictions(protocol, record)) == []
    left = {name: number for name, number in record.analysed.items() if name != "psnr_drop"}
    cut = record.model_copy(update={"analysed": left})
    assert list(contradictions(protocol, cut)) == ["it has no number psnr_drop, which a claim or margin asks for"]
