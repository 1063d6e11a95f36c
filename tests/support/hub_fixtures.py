"""A Hub on this machine, a client that knows no other, and results to send: shared by the tests of push and pull."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hub_server import TOKEN, Hub
from made_once import copy_of

from benchmark.claims import papers as published
from benchmark.claims.published import Published
from benchmark.protocols import Protocol, load_all
from benchmark.records.store import Store
from benchmark.sharing.hub import push as card
from benchmark.sharing.hub import remote as failures
from benchmark.sharing.hub.pull import Pulled, pull
from benchmark.sharing.hub.push import Pushed, push
from benchmark.sharing.hub.remote import Remote

NAME = "somebody/records"
METHODS = ("dense", "imp", "imp+reinit", "random", "snip")


def quiet(_step: str, _done: int, _total: int) -> None:
    """No progress."""


class _Hasty:
    """The module `time`, in which nobody sleeps."""

    def __getattr__(self, name: str) -> Any:
        import time

        return (lambda _seconds: None) if name == "sleep" else getattr(time, name)


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory, tiny_protocol: Protocol, tiny_results: Path) -> Path:
    """A results folder as the harness writes it: a chain, controls with draws, one-shot pruners."""
    return copy_of(tiny_results, tmp_path_factory.mktemp("measured"), tiny_protocol, METHODS).root


@pytest.fixture
def results(measured: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    shutil.copytree(measured, tmp_path / "results", ignore=shutil.ignore_patterns(".work"))
    return tmp_path / "results"


@pytest.fixture(scope="session")
def known() -> tuple[list[Protocol], list[Published]]:
    """Every protocol and paper, read once: half a second of YAML at every push."""
    return load_all(), published.load_all()


@pytest.fixture
def hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: tuple[list[Protocol], list[Published]]
) -> Iterator[Hub]:
    """A Hub, and a client that knows only it: own cache, own token, no Xet, no waiting between attempts."""
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _cache_assets, _http

    for name in ("HF_HUB_CACHE", "HF_ASSETS_CACHE", "HF_TOKEN_PATH", "HF_HOME"):
        monkeypatch.setattr(constants, name, str(tmp_path / "client" / name))
    monkeypatch.setattr(_cache_assets, "HF_ASSETS_CACHE", str(tmp_path / "client" / "assets"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(failures, "pause", lambda _seconds: None)
    for module in (_http, file_download):
        assert isinstance(module, ModuleType)
        monkeypatch.setattr(module, "time", _Hasty())
    monkeypatch.setattr(card, "load_all", lambda: known[0])
    monkeypatch.setattr(published, "load_all", lambda: known[1])
    with Hub() as running:
        yield running


@pytest.fixture
def selection(tiny_protocol: Protocol) -> list[tuple[Protocol, str]]:
    """What was measured."""
    return [(tiny_protocol, method) for method in METHODS]


Selection = list[tuple[Protocol, str]]


def sent(hub: Hub, root: Path, selection: Selection) -> Pushed:
    """A push of a folder."""
    return push(Store(root), selection, Remote(NAME, hub.url), private=False, say=quiet)


def got(hub: Hub, root: Path, selection: Selection, revision: str = "main") -> Pulled:
    """A pull into a folder."""
    return pull(Store(root), lambda _: selection, Remote(NAME, hub.url), revision, quiet)


def contents(root: Path) -> dict[str, bytes]:
    """What a results folder holds, scratch and notes left out."""
    found = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if not name.startswith(".work/") and name != "pulled.json"
    }


def remote_contents(hub: Hub) -> dict[str, bytes]:
    """What the repository holds, without its own files."""
    files = hub.repositories[NAME].files
    return {path: content for path, content in files.items() if path not in (".gitattributes", "README.md")}


def no_leftovers(root: Path) -> bool:
    """Whether nothing unfinished lies about."""
    return not list((root / ".work" / "unfinished").glob("*"))
