"""The red team: each attack of `attacks` by a plugin, and of bundles by their author, meets the barrier it should.

A reason in one line is all that comes of any: BadPruner or BadInput, never another exception, and the secret stays.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from attack_archives import ARCHIVES, WEIGHTS
from attack_frames import ATTACKS
from attacks import Attack
from plugin_files import SMALL, begun, mask_of, plugin

from benchmark.plugins.sandbox import template
from benchmark.plugins.sandbox.confinement import describe
from benchmark.protocols import Protocol
from benchmark.sharing.bundle.format import read_files
from benchmark.training.checkpoint import load_weights
from benchmark.utils.errors import BadInput, BadPruner, Conflict

LINUX = describe()
pytestmark = pytest.mark.long
BRIEF = replace(SMALL, start_seconds=20.0, seconds=20.0)
SHORT = replace(SMALL, start_seconds=3.0, seconds=2.0)
SLOW = {"sleep", "a loop that ignores signals", "silence"}


@pytest.mark.skipif(
    not (LINUX.landlock and LINUX.system_calls) or platform.machine() != "x86_64",
    reason="needs Landlock, the filter and the numbers of x86_64",
)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.barrier}: {attack.name}")
def test_an_attack_meets_its_barrier(
    attack: Attack, tmp_path: Path, tiny_protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOTTERYBENCH_SECRET", "token")
    secret = tmp_path / "secret"
    secret.write_text("kept")
    lines = attack.lines(secret, os.getpid())
    source = plugin(tmp_path, "pass" if attack.at_import else lines)
    if attack.at_import:
        head = b"import ctypes, os, signal, socket, sys, time\nimport torch\n"
        source = replace(source, source=head + lines.encode() + b"\n" + source.source)
    with pytest.raises(BadPruner) as caught:
        mask_of(source, tiny_protocol.pruning, SHORT if attack.name in SLOW else BRIEF)
    cause = caught.value.cause
    assert any(words in cause for words in attack.says), cause
    assert cause.isprintable()
    assert len(str(caught.value)) < 3000
    assert secret.read_text() == "kept"


def test_there_are_enough() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) > 120


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_forged_archive_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "forged.lotterybench.zip"
    path.write_bytes(ARCHIVES[name]())
    with pytest.raises((Conflict, BadInput)) as caught:
        read_files(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", WEIGHTS)
def test_forged_weights_are_none(name: str, tmp_path: Path) -> None:
    path = tmp_path / "final.safetensors"
    path.write_bytes(WEIGHTS[name])
    assert load_weights(path) is None


SANDBOX = "import benchmark.plugins.sandbox.confinement as s; "
KERNELS = {
    "no namespaces": ("s.CLONE = {'none': 1}", "PermissionError"),
    "no mounts of its own": ("s.enter_own_root = lambda *a: False", "PermissionError"),
    "no Landlock": ("s.restrict_files = lambda *a: False", "FileNotFoundError"),
    "no filter": ("s.refuse_system_calls = lambda: False", "FileNotFoundError"),
    "nothing but the filter": ("s.CLONE = {'none': 1}; s.restrict_files = lambda *a: False", None),
}


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A template on a kernel that lacks something."""
    change, start = KERNELS[request.param][0], "from benchmark.plugins.sandbox.template"
    monkeypatch.setattr(template, "START", template.START.replace(start, f"{SANDBOX}{change}\n{start}"))
    monkeypatch.setattr(template, "_template", None)
    yield request.param
    template.template().close()


@pytest.mark.skipif(not (LINUX.own_root and LINUX.landlock and LINUX.system_calls), reason="takes from what is there")
def test_what_is_left_holds_and_what_is_missing_is_said(kernel: str, tmp_path: Path, tiny_protocol: Protocol) -> None:
    """Each wall stands without the others: the secret is read only where both that hide it are gone."""
    secret, absent = tmp_path / "secret", KERNELS[kernel][1]
    secret.write_text("kept")
    with begun(plugin(tmp_path, "pass")) as session:
        said = session.protections.sentence()
    assert "NOT enforced on this system" in said
    for body, barrier in ((f"open({str(secret)!r})", absent), ("socket.create_connection(('1.1.1.1', 80))", "Error")):
        if barrier is None:
            mask_of(plugin(tmp_path, body), tiny_protocol.pruning)
            assert "no files but the interpreter's" in said.partition("NOT enforced")[2]
            continue
        with pytest.raises(BadPruner) as caught:
            mask_of(plugin(tmp_path, body), tiny_protocol.pruning, BRIEF)
        assert barrier in caught.value.cause
