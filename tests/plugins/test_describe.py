"""What `check`, `run --plugin` and `submit` ask of a plugin file is answered by a confined process."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmark.api import Pruner
from benchmark.cli.main import cli
from benchmark.plugins.child import ask
from benchmark.plugins.describe import described, submission_to
from benchmark.plugins.sandbox.confinement import describe
from benchmark.protocols import Protocol
from benchmark.protocols.methods import Schedule
from benchmark.utils.errors import BadPruner

PLUGIN = """
from benchmark.api import Pruner
{at_import}

class Mine(Pruner):
    paper = {paper}

    def score(self, network, examples, rng):
        {in_score}
        return {{name: w.abs() for name, w in network.weights.items()}}
"""


def write(folder: Path, at_import: str = "", paper: str = "''", in_score: str = "pass") -> Path:
    path = folder / "mine.py"
    path.write_text(PLUGIN.format(at_import=at_import, paper=paper, in_score=in_score))
    return path


def test_the_file_may_be_read_and_no_other_and_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    secret = tmp_path / "secret"
    secret.write_text("token")
    code = f"""
import os
found = [os.environ.get("HF_TOKEN", "none"), open(__file__).read().split()[0]]
for path, mode in (({str(secret)!r}, "r"), ({str(tmp_path / "new")!r}, "w")):
    try:
        found.append(open(path, mode))
    except OSError as error:
        found.append(error.strerror)
"""
    found = described(write(tmp_path, at_import=code, paper="repr(found)"), {})
    assert found.paper.startswith("['none', 'from', ")
    if not describe().landlock:
        pytest.skip("this kernel has no Landlock")
    absent = ["No such file or directory", "Read-only file system"]
    refused = absent if describe().own_root else ["Permission denied"] * 2
    assert found.paper == repr(["none", "from", *refused])
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("answered_here")
def test_a_digest_is_not_the_plugins_to_tell(tmp_path: Path) -> None:
    """Two files of different code that answer the same questions alike have different digests, as the harness says."""
    first = described(write(tmp_path), {})
    second = described(write(tmp_path, in_score="print()"), {})
    assert first.model_copy(update={"digest": ""}) == second.model_copy(update={"digest": ""})
    assert first.digest != second.digest


def test_a_check_that_never_ends_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, in_score="\n        while True: pass")
    with pytest.raises(BadPruner, match=r"its check 'runs on every family' took more than 4 s"):
        ask("benchmark.plugins.conformance", path, {}, 4)


def test_a_check_that_ends_the_process_is_named_without_its_escapes(tmp_path: Path) -> None:
    path = write(tmp_path, in_score="import os; os.write(2, b'\\x1b]0;owned\\x07bye'); os._exit(7)")
    result = CliRunner().invoke(cli, ["check", str(path)])
    assert isinstance(result.exception, BadPruner)
    assert "its check 'runs on every family' ended the process with code 7" in str(result.exception)
    assert "bye" in str(result.exception)
    assert "\x1b" not in str(result.exception)


def test_errors_move_no_cursor() -> None:
    text = str(BadPruner("plugin \x1b[2J\nx", "raised \x07 ä", "Fix \x9b it"))
    assert text == "plugin \\x1b[2J x: raised \\x07 ä. Fix \\x9b it"


def answering(text: str) -> str:
    """Lines for a plugin that writes `text` where answers are read, whatever number that file has, and ends."""
    return f"import os\nfor n in range(3, 16):\n    try: os.write(n, {text})\n    except OSError: pass\nos._exit(0)"


def test_what_a_plugin_writes_in_place_of_an_answer_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, at_import=answering('b\'{"answer": {"kind": []}}\\n\''))
    with pytest.raises(BadPruner):
        described(path, {})


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"error": [1, 2]}', '{"answer": [1]}', '{"answer": {"kind": []}}'],
    ids=["deep", "no error", "no answer", "other answer"],
)
def test_no_such_answer_is_read(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as what a plugin says of itself nor as a report of checks, of a child that writes it and ends."""
    words, child = tmp_path / "words", tmp_path / "child"
    words.write_text(text)
    child.write_text(f"#!/bin/sh\ncat {words}\n")
    child.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(child))
    with pytest.raises(BadPruner):
        described(write(tmp_path), {})
    assert isinstance(CliRunner().invoke(cli, ["check", str(write(tmp_path))]).exception, BadPruner)


def test_an_endless_answer_fills_no_memory(tmp_path: Path) -> None:
    """More than a file of the child's may have ends the child; its parent reads the end of the file only."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = write(
        tmp_path,
        at_import=answering("bytes(2**20)")
        .replace("os.write", "[os.write")
        .replace(")\n", ") for _ in range(512)]\n", 1),
    )
    with pytest.raises(BadPruner):
        described(path, {})
    unit = 1024 if sys.platform == "linux" else 1
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < 256 * 2**20


@pytest.mark.usefixtures("answered_here")
def test_findings_move_no_cursor(tmp_path: Path) -> None:
    path = write(tmp_path, in_score="raise ValueError('\\x1b[2Jall ok')")
    result = CliRunner().invoke(cli, ["check", str(path)])
    assert result.exit_code == 1
    assert "\\x1b[2Jall ok" in result.output
    assert "\x1b" not in result.output


@pytest.mark.usefixtures("answered_here")
@pytest.mark.parametrize(
    ("file", "schedule", "allocation"),
    [
        ("force", {"rounds": 60, "scores": "initial", "restart": 0, "pruned_weights": "may-return"}, "global"),
        ("erk_random", {"rounds": 1, "scores": "initial", "restart": 0}, "by-pruner"),
        ("mask_criteria", {"rounds": 1, "scores": "trained", "restart": 0}, "layerwise"),
    ],
)
def test_a_plugin_says_how_its_scores_become_a_mask(
    file: str, schedule: dict[str, object], allocation: str, tiny_protocol: Protocol
) -> None:
    """Rounds, whether pruned weights return, budgets, and weights of both kinds go into the method that is added."""
    facts = described(Path(__file__).parents[2] / "baselines" / f"{file}.py", {})
    submission = submission_to(tiny_protocol, facts)
    assert submission.method.schedule == Schedule.model_validate(schedule)
    assert submission.method.allocation == allocation
    tiny_protocol.with_added({"mine": submission.method})


@pytest.mark.usefixtures("answered_here")
def test_weights_that_may_return_need_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pruner, "pruned_weights", Pruner.pruned_weights)  # the plugin changes it, in this process
    path = write(tmp_path, at_import="Pruner.pruned_weights = 'may-return'")
    with pytest.raises(BadPruner, match="Declare rounds above 1"):
        described(path, {})
