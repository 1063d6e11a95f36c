"""What `new-pruner` writes works as written: tests, check, metadata."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmark.cli.main import cli
from benchmark.plugins.describe import described
from benchmark.plugins.load import from_file
from benchmark.plugins.scaffold import Kind, write_pruner
from benchmark.utils.errors import BadInput

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["score", "mask"])
def test_the_generated_tests_pass_as_generated(tmp_path: Path, kind: Kind) -> None:
    files = write_pruner("my_method", tmp_path, kind)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, cwd=files[0].parent, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout
    assert "16 passed" in done.stdout


@pytest.mark.usefixtures("answered_here")
@pytest.mark.parametrize("kind", ["score", "mask"])
def test_the_package_names_the_class(tmp_path: Path, kind: Kind) -> None:
    pruner, _, metadata = write_pruner("my_method2", tmp_path / "new", kind)
    project = tomllib.loads(metadata.read_text())
    assert project["project"]["entry-points"]["lotterybench.pruners"] == {"my_method2": "my_method2:MyMethod2"}
    assert project["tool"]["setuptools"]["py-modules"] == [pruner.stem]
    assert from_file(pruner).kind.__name__ == "MyMethod2"
    assert described(pruner, {"alpha": "0.5"}).parameters == {"alpha": 0.5}
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--select", "E,F,W,B,UP", "--line-length", "120", str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "name", ["My", "a-b", "_a", "a__b", "class", "../up", "", "snip", "imp", "dense", "json", "torch"]
)
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput):
        write_pruner(name, tmp_path, "score")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "my_method").mkdir()
    with pytest.raises(BadInput, match="nothing is overwritten"):
        write_pruner("my_method", tmp_path, "score")
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(cli, ["new-pruner", "mine", "--to", str(tmp_path / "file")])
    assert result.exit_code == 2


def test_the_command_says_what_comes_next(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["new-pruner", "mine", "--to", str(tmp_path)])
    assert result.exit_code == 0
    for word in ("Wrote", "mine.py", "lotterybench check", "--plugin", "--with"):
        assert word in result.output
