"""Methods of plugins through a repository: their records travel, their code and anybody's marks do not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from bundle_fixtures import Made
from hub_fixtures import NAME, Selection, contents, quiet, remote_contents, sent
from hub_server import Hub

from benchmark.protocols import Protocol
from benchmark.protocols.cells import method_names
from benchmark.records.store import Store
from benchmark.records.submissions import with_submissions
from benchmark.report import leaderboard
from benchmark.sharing.hub.pull import Pulled, Widened, pull
from benchmark.sharing.hub.remote import Remote
from benchmark.utils.errors import BadInput, Conflict

FOLDER = "tests/tiny@1/mine"


@pytest.fixture
def theirs(made: Made, tmp_path: Path) -> Path:
    """A results folder with a plugin's method, and a mark that its author wrote."""
    shutil.copytree(made.store.root, tmp_path / "theirs", ignore=shutil.ignore_patterns(".work"))
    mark = {"schema": "lotterybench/verification/1", "name": "mine", "by": "Myself", "when": "2026-01-01", "cells": 9}
    mark |= {
        "protocol": made.part.submission.protocol.model_dump(),
        "plugin_digest": made.part.submission.plugin_digest,
    }
    (tmp_path / "theirs" / FOLDER / "verification.json").write_text(json.dumps(mark))
    return tmp_path / "theirs"


@pytest.fixture
def added(made: Made) -> Selection:
    """What the author sends."""
    return [(made.part.protocol, "dense"), (made.part.protocol, "mine")]


def taken(hub: Hub, root: Path, protocol: Protocol) -> Pulled:
    """A pull by somebody who knows the protocol and nothing of the plugin."""

    def choose(widened: Widened) -> Selection:
        wider = widened(protocol)
        return [(wider, method) for method in method_names(wider)]

    return pull(Store(root), choose, Remote(NAME, hub.url), "main", quiet)


def test_a_method_arrives_as_reported(
    hub: Hub, theirs: Path, added: Selection, tiny_protocol: Protocol, tmp_path: Path
) -> None:
    sent(hub, theirs, added)
    there = remote_contents(hub)
    assert f"{FOLDER}/submission.json" in there
    assert not [path for path in there if path.endswith((".py", "verification.json"))]
    assert "| tests/tiny@1 | 6 |" in hub.repositories[NAME].files["README.md"].decode()
    taken(hub, tmp_path / "ours", tiny_protocol)
    assert contents(tmp_path / "ours") == there
    assert taken(hub, tmp_path / "ours", tiny_protocol).new == 0
    store = Store(tmp_path / "ours")
    board = "\n".join(leaderboard.render(store, [with_submissions(store, tiny_protocol)]).values())
    assert "mine (reported)" in board
    assert "verified (" not in board


def test_a_mark_in_the_repository_is_left_alone(
    hub: Hub, theirs: Path, added: Selection, tiny_protocol: Protocol, tmp_path: Path
) -> None:
    sent(hub, theirs, added)
    mark = (theirs / FOLDER / "verification.json").read_bytes()
    hub.repositories[NAME].add({f"{FOLDER}/verification.json": mark}, "I verified it")
    assert f"{FOLDER}/verification.json" in taken(hub, tmp_path / "ours", tiny_protocol).others
    assert not (tmp_path / "ours" / FOLDER / "verification.json").exists()


def test_records_of_other_code_are_refused(
    hub: Hub, theirs: Path, added: Selection, tiny_protocol: Protocol, tmp_path: Path
) -> None:
    path = theirs / FOLDER / "level-03_seed-0.json"
    good = path.read_bytes()
    document = json.loads(good)
    document["method"]["pruner_digest"] = "1" * 64
    path.write_text(json.dumps(document, indent=1) + "\n")
    with pytest.raises(BadInput, match="not made by the plugin"):
        sent(hub, theirs, added)
    bad = path.read_bytes()
    path.write_bytes(good)
    sent(hub, theirs, added)
    hub.repositories[NAME].add({f"{FOLDER}/level-03_seed-0.json": bad}, "another")
    with pytest.raises(Conflict, match="not made by the plugin"):
        taken(hub, tmp_path / "ours", tiny_protocol)
    assert contents(tmp_path / "ours") == {}


@pytest.mark.parametrize("spoil", ["{", '{"schema": 1}', "x" * 70_000, "[" * 10_000])
def test_a_damaged_submission_is_no_method(
    hub: Hub, theirs: Path, added: Selection, tiny_protocol: Protocol, tmp_path: Path, spoil: str
) -> None:
    """Everything else of the repository arrives."""
    sent(hub, theirs, added)
    hub.repositories[NAME].add({f"{FOLDER}/submission.json": spoil.encode()}, "damage")
    taken(hub, tmp_path / "ours", tiny_protocol)
    assert {name.split("/")[2] for name in contents(tmp_path / "ours")} == {"dense"}


def test_no_record_slips_under_a_mark(
    hub: Hub, theirs: Path, added: Selection, tiny_protocol: Protocol, tmp_path: Path
) -> None:
    sent(hub, theirs, added)
    shutil.copytree(theirs, tmp_path / "ours")
    (tmp_path / "ours" / FOLDER / "level-03_seed-1.json").unlink()
    with pytest.raises(Conflict, match="stands for the records that are here"):
        taken(hub, tmp_path / "ours", tiny_protocol)
