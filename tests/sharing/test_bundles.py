"""Bundles: the whole path from a plugin to a verified row, and every way to forge one that is caught without a run."""

from __future__ import annotations

import io
import json
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundle_fixtures import PLUGIN, Document, Files, Made, forge, quiet
from fuzzing import altered, damaged
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.protocols import Protocol
from benchmark.records.masks import masks_from_bytes, masks_to_bytes
from benchmark.sharing.bundle import format as archive
from benchmark.sharing.bundle.build import build
from benchmark.sharing.bundle.format import MANIFEST, pack_files, read_bundle, read_files
from benchmark.sharing.bundle.verify import check
from benchmark.utils.errors import BadInput, Conflict, LotterybenchError
from benchmark.utils.files import sha256

settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "loaders"))

RECORD = "results/tests/tiny@1/mine/level-03_seed-0.json"


def reasons(path: Path, protocol: Protocol, folder: Path) -> list[str]:
    """Why a bundle is refused, static checks only."""
    try:
        return check(read_bundle(path), folder / "checked", [protocol]).reasons
    except LotterybenchError as error:
        return [str(error)]


def edit(name: str, change: Callable[[Document], object]) -> Callable[[Files], None]:
    """A change of one JSON file."""

    def edited(files: Files) -> None:
        document = json.loads(files[name])
        change(document)
        files[name] = (json.dumps(document, indent=1) + "\n").encode()

    return edited


def test_an_honest_bundle_is_whole_and_has_the_same_bytes_again(
    made: Made, bundle: Path, tiny_protocol: Protocol, tmp_path: Path
) -> None:
    assert reasons(bundle, tiny_protocol, tmp_path) == []
    assert build([made.part], made.plugin, made.store, quiet) == made.bundle
    names = set(read_files(bundle)[1])
    assert {MANIFEST, "environment.json", "plugin/mine.py", RECORD} <= names
    assert "masks/tests/tiny@1/mine/level-03_seed-0.safetensors" in names
    assert not [name for name in names if "verification" in name]


def test_masks_survive_packing(tiny_protocol: Protocol) -> None:
    """Sizes that are no multiple of eight, too."""
    rng = np.random.default_rng(0)
    masks = {name: rng.random(shape) < 0.3 for name, shape in tiny_protocol.pruning.prunable.items()}
    again = masks_from_bytes(masks_to_bytes(masks), tiny_protocol)
    assert all(np.array_equal(masks[name], again[name]) for name in masks)


def _accuracy(document: Document) -> None:
    document["measured"]["metrics"]["test_accuracy"]["early_stop"] += 1.0


def _seed(files: Files) -> None:
    """Seed 1's cell becomes a copy of seed 0's."""
    for ending in (".json", ".curves.npz"):
        files[RECORD.replace("seed-0.json", "seed-1" + ending)] = files[RECORD.replace(".json", ending)]
    masks = "masks/tests/tiny@1/mine/level-03_seed-{}.safetensors"
    files[masks.format(1)] = files[masks.format(0)]
    edit(RECORD.replace("seed-0", "seed-1"), lambda d: d["cell"].update(seed=1))(files)


def _swap(files: Files) -> None:
    a, b = (f"masks/tests/tiny@1/mine/level-03_seed-{seed}.safetensors" for seed in (0, 1))
    files[a], files[b] = files[b], files[a]


def _drop(files: Files) -> None:
    for name in [name for name in files if "/mine/" in name and "seed-1" in name]:
        del files[name]


def _plugin(files: Files) -> None:
    files["plugin/mine.py"] = PLUGIN.replace("w.abs() **", "w.square() **").encode()


FORGED: list[tuple[str, Callable[[Files], object], str]] = [
    ("changed accuracy", edit(RECORD, _accuracy), "test accuracy at early stopping is"),
    ("changed mask digest", edit(RECORD, lambda d: d["mask"].update(sha256="0" * 64)), "names another mask than"),
    ("changed cost", edit(RECORD, lambda d: d["cost"].update(train_steps=10)), "10 training steps, the protocol has"),
    ("changed count", edit(RECORD, lambda d: d["mask"].update(kept=1)), "its mask keeps 1 of"),
    ("other code", edit(RECORD, lambda d: d["method"].update(pruner_digest="1" * 64)), "not made by the plugin"),
    ("other data", edit(RECORD, lambda d: d["provenance"].update(data_digest="1" * 64)), "with different data"),
    ("swapped masks", _swap, "names another mask than the one beside it"),
    ("dropped seeds", _drop, "no record for seed 1"),
    ("duplicated seed", _seed, "its curves are those of mine level 3, seed 0"),
    ("other protocol", edit(RECORD, lambda d: d["protocol"].update(digest="2" * 64)), "another document than"),
    ("edited plugin", _plugin, "is not the code whose digest the manifest names"),
    ("lost mask", lambda f: f.pop("masks/tests/tiny@1/mine/level-03_seed-0.safetensors"), "not in the bundle"),
    ("extra file", lambda f: f.update({"results/tests/tiny@1/mine/x.json": b"{}"}), "no file of the claimed method"),
    ("own mark", lambda f: f.update({"results/tests/tiny@1/mine/verification.json": b"{}"}), "no file of the claimed"),
    ("other record", lambda f: f.update({RECORD: b"{"}), "not JSON"),
    ("no plugin", lambda f: f.pop("plugin/mine.py"), "is not in the bundle"),
    ("no submission", lambda f: f.pop("results/tests/tiny@1/mine/submission.json"), "is not in the bundle"),
]


@pytest.mark.parametrize(("change", "reason"), [row[1:] for row in FORGED], ids=[row[0] for row in FORGED])
def test_a_forged_bundle_with_a_right_manifest_is_refused(
    bundle: Path, tiny_protocol: Protocol, tmp_path: Path, change: Callable[[Files], object], reason: str
) -> None:
    forge(bundle, change)
    found = reasons(bundle, tiny_protocol, tmp_path)
    assert any(reason in one for one in found), found


def test_another_protocol_version_is_refused(bundle: Path, tiny_protocol: Protocol, tmp_path: Path) -> None:
    other = tiny_protocol.model_copy(update={"version": 2})
    found = reasons(bundle, other, tmp_path)
    assert any("is another version or document than tests/tiny@2" in one for one in found), found


def test_means_in_the_manifest_are_derived_again(bundle: Path, tiny_protocol: Protocol, tmp_path: Path) -> None:
    forge(bundle, lambda _: None, lambda m: m["claims"][0]["accuracies"][0].update(mean_percent=99.0))
    assert "counts or means in the manifest are not those of its records" in reasons(bundle, tiny_protocol, tmp_path)[0]


def zipped(entries: list[tuple[zipfile.ZipInfo, bytes]], kind: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of anything."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as made_here:
        for entry, content in entries:
            made_here.writestr(entry, content, kind)
    return buffer.getvalue()


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    """A member's entry."""
    made_here = zipfile.ZipInfo(name)
    made_here.create_system, made_here.external_attr = 3, mode << 16
    return made_here


def _lying(content: bytes) -> bytes:
    """A directory entry that declares 4 GB."""
    at = content.rindex(b"PK\x01\x02")
    return content[: at + 20] + struct.pack("<LL", 2**32 - 2, 2**32 - 2) + content[at + 28 :]


SPOILED: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("climbs", lambda _: zipped([(entry("../../x"), b"x")]), "leads out of the bundle"),
    ("absolute", lambda _: zipped([(entry("/etc/x"), b"x")]), "leads out of the bundle"),
    ("drive", lambda _: zipped([(entry("C:/x"), b"x")]), "leads out of the bundle"),
    ("backslash", lambda _: zipped([(entry("a\\..\\x"), b"x")]), "leads out of the bundle"),
    ("odd name", lambda _: zipped([(entry("a b"), b"x")]), "a name that no bundle holds"),
    ("not ASCII", lambda _: zipped([(entry("é"), b"x")]), "a name that no bundle holds"),
    ("symlink", lambda _: zipped([(entry("x", stat.S_IFLNK | 0o777), b"/etc/passwd")]), "is a symbolic link"),
    ("device", lambda _: zipped([(entry("x", stat.S_IFCHR | 0o666), b"")]), "is no plain file"),
    ("folder", lambda _: zipped([(entry("x/"), b"")]), "is no plain file"),
    (
        "bomb",
        lambda _: zipped([(entry("x"), bytes(10**7))], zipfile.ZIP_DEFLATED),
        "is compressed, 10,000,000 bytes in",
    ),
    ("over-long", _lying, "is too long: 4,294,967,294 bytes"),
    ("truncated", lambda whole: whole[: len(whole) // 2], "is no whole bundle"),
    ("no zip", lambda _: b"hello", "is no whole bundle"),
    ("trailing", lambda whole: whole + b"x", "is no whole bundle"),
    ("leading", lambda whole: b"x" + whole, "something beside its files"),
    ("flipped bit", lambda whole: whole.replace(b"Magnitude times", b"Nagnitude times", 1), "is no whole bundle"),
    ("no manifest", lambda _: pack_files({"x": b"x"}), "holds no manifest.json"),
]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("spoil", "reason"), [row[1:] for row in SPOILED], ids=[row[0] for row in SPOILED])
def test_a_spoiled_archive_is_refused(bundle: Path, spoil: Callable[[bytes], bytes], reason: str) -> None:
    bundle.write_bytes(spoil(bundle.read_bytes()))
    with pytest.raises(Conflict) as caught:
        read_bundle(bundle)
    assert reason in str(caught.value)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_stand_twice_or_are_not_utf8(bundle: Path) -> None:
    bundle.write_bytes(zipped([(entry("x"), b"1"), (entry("x"), b"2")]))
    with pytest.raises(Conflict, match="stands twice"):
        read_bundle(bundle)
    spoiled = zipped([(entry("é"), b"1")]).replace("é".encode(), b"\xff\xfe")
    bundle.write_bytes(spoiled)
    with pytest.raises(Conflict, match=r"no whole bundle|no bundle holds"):
        read_bundle(bundle)


def test_files_beside_the_manifest_and_limits(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = read_files(bundle)[1]
    bundle.write_bytes(pack_files({**files, "results/extra": b"x"}))
    with pytest.raises(Conflict, match="in the bundle and not in its manifest"):
        read_bundle(bundle)
    bundle.write_bytes(pack_files({**files, RECORD: files[RECORD] + b" "}))
    with pytest.raises(Conflict, match="not what the manifest says"):
        read_bundle(bundle)
    monkeypatch.setattr(archive, "MOST_FILES", 3)
    with pytest.raises(Conflict, match="at most 3 are read"):
        read_bundle(bundle)
    monkeypatch.setattr(archive, "MOST_BYTES", 100)
    with pytest.raises(BadInput, match="too long"):
        read_bundle(bundle)


def _small() -> bytes:
    document = {"schema": "lotterybench/bundle/1", "plugin": "plugin/x.py", "plugin_digest": "0" * 64}
    claim = {"protocol": {"id": "a/b", "version": 1, "digest": "0"}, "name": "x", "cells": 1, "failed": 0}
    document |= {"claims": [{**claim, "accuracies": [{"level": 1, "seeds": 1, "mean_percent": 1.5}]}]}
    document |= {"files": {"plugin/x.py": {"size": 1, "sha256": sha256(b"x")}}}
    return pack_files({MANIFEST: (json.dumps(document, indent=1) + "\n").encode(), "plugin/x.py": b"x"})


SMALL = _small()


@given(damaged(SMALL) | st.binary(max_size=400))
def test_damaged_bundles_end_in_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.zip"
    path.write_bytes(content)
    try:
        found = read_bundle(path)
    except LotterybenchError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert found.digest == sha256(SMALL)  # the one form that is accepted


MANIFEST_DOCUMENT = json.loads(zipfile.ZipFile(io.BytesIO(SMALL)).read(MANIFEST))


@given(altered(MANIFEST_DOCUMENT))
def test_altered_manifests_end_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, tiny_protocol: Protocol, document: Document
) -> None:
    folder = tmp_path_factory.mktemp("altered")
    try:
        text = (json.dumps(document, indent=1) + "\n").encode()
        (folder / "b.zip").write_bytes(pack_files({MANIFEST: text, "plugin/x.py": b"x"}))
    except ValueError:  # a number of more digits than Python writes
        return
    assert reasons(folder / "b.zip", tiny_protocol, folder)
    assert {path.name for path in folder.rglob("*") if path.is_file()} <= {"b.zip", "x.py"}
