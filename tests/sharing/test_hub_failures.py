"""push and pull while things go wrong: nothing lost, nothing half-pulled, and the same command goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hub_fixtures import METHODS, NAME, Selection, contents, got, no_leftovers, remote_contents, sent
from hub_server import TOKEN, Fault, Hub

from benchmark.records.store import Store
from benchmark.sharing.hub import push as pushing
from benchmark.sharing.hub import remote
from benchmark.utils.errors import Conflict, EnvironmentProblem

OFTEN = 1000

PUSH_FAULTS = {
    "the repository cannot be looked up": Fault("GET", r"/api/datasets/[^/]+/[^/]+$", 500, OFTEN),
    "it cannot be created": Fault("POST", "/repos/create", 503, OFTEN),
    "the listing fails": Fault("GET", "/tree/", 500, OFTEN),
    "the listing is cut": Fault("GET", "/tree/", "cut", OFTEN),
    "the listing stalls": Fault("GET", "/tree/", "stall", OFTEN),
    "the listing is damaged": Fault("GET", "/tree/", "corrupt", OFTEN),
    "a page of the listing is lost": Fault("GET", "/tree/", "no-next", OFTEN, skip=2),
    "modes of upload cannot be had": Fault("POST", "/preupload/", 502, OFTEN),
    "large files are not taken": Fault("PUT", "/large/", 500, OFTEN, skip=4),
    "the commit fails": Fault("POST", "/commit/", 500, OFTEN, skip=1),
    "the commit stalls": Fault("POST", "/commit/", "stall", OFTEN, skip=1),
    "the card is refused": Fault("POST", "/validate-yaml", 500, OFTEN),
}


SLOW_TO_GIVE_UP = {"the listing stalls", "the commit stalls", "downloads stall", "looking stalls"}
"""Seconds each: every wait runs to its end."""
LIKE_ANOTHER = {
    "it cannot be created", "the listing is damaged", "modes of upload cannot be had", "the commit fails",
    "the listing is no JSON", "files fail", "lengths are too short", "lengths are too long",
}  # fmt: skip
"""Faults in which the client meets what it meets in another of the same table, at another place."""


def every(faults: Iterable[str]) -> list[Any]:
    """All faults as parameters; one of each kind in `make test`, the others in `make test-long`."""
    return [pytest.param(what, marks=[pytest.mark.long] * (what in SLOW_TO_GIVE_UP | LIKE_ANOTHER)) for what in faults]


@pytest.mark.parametrize("what", every(PUSH_FAULTS))
def test_a_push_that_fails_is_one_error_and_goes_on(
    hub: Hub, results: Path, selection: Selection, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault stays until we give up: exit code 3, only whole files there; without it the same push completes."""
    fault = PUSH_FAULTS[what]
    monkeypatch.setattr(pushing, "BATCH_FILES", 12)
    monkeypatch.setattr(remote, "ANSWER_SECONDS", 0.15)
    hub.faults.append(Fault(fault.method, fault.path, fault.kind, fault.times, fault.skip))
    with pytest.raises(EnvironmentProblem) as caught:
        sent(hub, results, selection)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)
    everything = contents(results)
    if NAME in hub.repositories:
        assert remote_contents(hub).items() <= everything.items()
    hub.faults.clear()
    before = len(remote_contents(hub)) if NAME in hub.repositories else 0
    monkeypatch.setattr(remote, "ANSWER_SECONDS", 30)
    assert sent(hub, results, selection).sent == len(everything) - before
    assert remote_contents(hub) == everything


PASSING = [
    (500, "GET /tree/"), ("cut", "POST /commit/"), ("lost", "POST /commit/"), (503, "GET /revision/"),
    (429, "POST /preupload/"), ("stall", "PUT /large/"), (404, "POST /verify"), ("corrupt", "GET /tree/"),
]  # fmt: skip
"""Every kind of answer, and every place but the card's check."""
ALSO_PASSING = [
    *((kind, "GET /tree/") for kind in ("cut", "lost", "stall")),
    *((kind, "POST /commit/") for kind in (500, "stall")),
    *((kind, "GET /revision/") for kind in ("cut", "stall")),
    *((kind, "PUT /large/") for kind in (500, "lost")),
    ("corrupt", "POST /preupload/"),
    (500, "POST /validate-yaml"),
]


@pytest.mark.parametrize(
    ("kind", "where"), [*PASSING, *(pytest.param(*fault, marks=pytest.mark.long) for fault in ALSO_PASSING)]
)
def test_a_push_lives_through_passing_faults(
    hub: Hub, results: Path, selection: Selection, kind: str | int, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two bad answers, then good ones. After a lost answer to a commit nothing is sent a second time."""
    monkeypatch.setattr(remote, "ANSWER_SECONDS", 0.4)
    method, path = where.split()
    hub.faults.append(Fault(method, path, kind, times=2))
    sent(hub, results, selection)
    assert remote_contents(hub) == contents(results)
    trees = [set(files) for _, files in hub.repositories[NAME].commits]
    assert len({frozenset(tree) for tree in trees}) == len(trees)  # every commit added something


def test_content_that_arrives_wrong_is_noticed(hub: Hub, results: Path, selection: Selection) -> None:
    """The other side keeps something else than what was sent: the next look says which file, exit code 1."""

    def spoil() -> None:
        for digest in list(hub.large)[:1]:
            hub.large[digest] = b"something else"

    hub.faults.append(Fault("POST", "/commit/", spoil))
    with pytest.raises(Conflict, match="npz"):
        sent(hub, results, selection)


PULL_FAULTS = {
    "the commit cannot be looked up": Fault("GET", "/revision/", 500, OFTEN),
    "the listing fails": Fault("GET", "/tree/", 503, OFTEN, skip=1),
    "the listing is cut": Fault("GET", "/tree/", "cut", OFTEN, skip=1),
    "a page of the listing is lost": Fault("GET", "/tree/", "no-next", OFTEN),
    "the listing is no JSON": Fault("GET", "/tree/", "corrupt", OFTEN),
    "files are missing": Fault("HEAD", "/resolve/", 404, OFTEN, skip=5),
    "files fail": Fault("GET", "/(large|resolve)/", 500, OFTEN, skip=5),
    "connections are cut": Fault("GET", "/(large|resolve)/", "cut", OFTEN, skip=5),
    "bytes are altered": Fault("GET", "/(large|resolve)/", "corrupt", OFTEN, skip=5),
    "lengths are too short": Fault("GET", "/(large|resolve)/", "short", OFTEN, skip=5),
    "lengths are too long": Fault("GET", "/(large|resolve)/", "long", OFTEN, skip=5),
    "downloads stall": Fault("GET", "/(large|resolve)/", "stall", OFTEN, skip=5),
    "looking stalls": Fault("HEAD", "/resolve/", "stall", OFTEN, skip=5),
}


@pytest.mark.parametrize("what", every(PULL_FAULTS))
def test_a_pull_that_fails_takes_nothing_over_and_goes_on(
    hub: Hub, results: Path, selection: Selection, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file in the folder, nothing unfinished left; without the fault the same pull completes, and what had
    arrived whole is not downloaded again."""
    from huggingface_hub import constants, file_download

    sent(hub, results, selection)
    fault = PULL_FAULTS[what]
    monkeypatch.setattr(remote, "ANSWER_SECONDS", 0.15)
    for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"):
        monkeypatch.setattr(constants, name, 0.1)
    monkeypatch.setattr(file_download, "_ETAG_RETRY_TIMEOUT", 0.1)
    for listing in tmp_path.glob("client/**/listings/*"):
        listing.unlink()
    hub.faults.append(Fault(fault.method, fault.path, fault.kind, fault.times, fault.skip))
    copy = tmp_path / "copy"
    with pytest.raises(EnvironmentProblem) as caught:
        got(hub, copy, selection)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    assert not contents(copy)
    assert no_leftovers(copy)
    hub.faults.clear()
    hub.log.clear()
    got(hub, copy, selection)
    assert contents(copy) == contents(results)
    if fault.skip == 5:
        assert len(hub.requests("^HEAD /datasets")) < len(contents(results))


@pytest.mark.parametrize("kind", ["cut", "corrupt", "short", "stall", 500])
def test_a_pull_lives_through_passing_faults(
    hub: Hub, results: Path, selection: Selection, tmp_path: Path, kind: str | int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent(hub, results, selection)
    monkeypatch.setattr(remote, "ANSWER_SECONDS", 0.4)
    hub.faults.append(Fault("GET", "/(large|resolve)/", kind, times=2))
    got(hub, tmp_path / "copy", selection)
    assert contents(tmp_path / "copy") == contents(results)


def test_a_damaged_cache_is_replaced_and_never_believed(
    hub: Hub, results: Path, selection: Selection, tmp_path: Path
) -> None:
    """Somebody altered a file in the client's cache: found by its digest, and downloaded again."""
    sent(hub, results, selection)
    got(hub, tmp_path / "one", selection)
    blobs = [path for path in (tmp_path / "client").glob("**/blobs/*") if path.is_file()]
    for blob in blobs[::2]:
        blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    got(hub, tmp_path / "two", selection)
    assert contents(tmp_path / "two") == contents(results)


def test_moving_in_is_whole_files_only(hub: Hub, results: Path, selection: Selection, tmp_path: Path) -> None:
    """Stopped while files are moved in: every record that is there has its curves, and the next pull completes."""
    from benchmark.sharing.hub import pull as pulling

    sent(hub, results, selection)
    copy, moved = tmp_path / "copy", 0

    def stop(step: str, done: int, _total: int) -> None:
        nonlocal moved
        if step == "taken over" and done == moved + 5:
            moved = done
            raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            pulling.pull(Store(copy), lambda _: selection, remote.Remote(NAME, hub.url), "main", stop)
        moved = 0
        there = contents(copy)
        assert there.items() < contents(results).items()
        for path in there:
            if path.endswith(".json"):
                assert json.loads(there[path])["curves_sha256"] is None or path[:-5] + ".curves.npz" in there
        assert no_leftovers(copy)
    got(hub, copy, selection)
    assert contents(copy) == contents(results)


def lotterybench(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "benchmark.cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **environment}
    )


@pytest.mark.long
def test_the_commands_and_offline(hub: Hub, results: Path, tmp_path: Path, tiny_path: Path) -> None:
    """As a person uses them: push, pull, and pull again without a network from the cache alone."""
    place = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    pushed = lotterybench("push", NAME, str(tiny_path), "--results", str(results), **place)
    assert pushed.returncode == 0, pushed.stderr
    commit = hub.repositories[NAME].commits[-1][0]
    assert f"{NAME} is at commit {commit}" in pushed.stdout
    pulled = lotterybench("pull", NAME, str(tiny_path), "--to", str(tmp_path / "one"), **place)
    assert pulled.returncode == 0, pulled.stderr
    assert f"--revision {commit}" in pulled.stdout
    assert "2 other files left alone: '.gitattributes', 'README.md'" in pulled.stdout
    before = len(hub.log)
    offline = {**place, "HF_HUB_OFFLINE": "1"}
    for number, revision in enumerate(("main", commit)):
        to = str(tmp_path / f"offline{number}")
        again = lotterybench("pull", NAME, str(tiny_path), "--to", to, "--revision", revision, **offline)
        assert again.returncode == 0, again.stderr
        assert contents(Path(to)) == contents(results)
    assert len(hub.log) == before
    elsewhere = {**offline, "HF_HOME": str(tmp_path / "empty")}
    for arguments in (["pull", NAME, str(tiny_path), "--to", str(tmp_path / "no")], ["push", NAME, str(tiny_path)]):
        refused = lotterybench(*arguments, **elsewhere)
        assert refused.returncode == 3
        assert "HF_HUB_OFFLINE" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_nobody_answers(tmp_path: Path, results: Path, tiny_path: Path) -> None:
    """A port where nothing listens: one line, exit code 3, also for a wrong repository name (2)."""
    place = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
    done = lotterybench("pull", "a/b/c", str(tiny_path), "--to", str(tmp_path / "x"), **place)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert METHODS
    assert results.exists()


def test_help_needs_no_client() -> None:
    code = (
        "import sys\nfrom benchmark.cli.main import main\nsys.argv = ['lotterybench', {verb!r}, '--help']\n"
        "try:\n    main()\nfinally:\n    print({{'torch', 'huggingface_hub'}} & set(sys.modules), file=sys.stderr)\n"
    )
    for verb in ("push", "pull"):
        done = subprocess.run(
            [sys.executable, "-c", code.format(verb=verb)], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.stderr.splitlines()[-1] == "set()", done.stderr
        assert f"lotterybench {verb}" in done.stdout
