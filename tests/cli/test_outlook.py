"""What `plan` says of a part of what is missing, of time that nobody measured, and where it says what it is doing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmark.cli.main import cli
from benchmark.utils.files import spoken


def plan(store: Path, *arguments: str, data: Path | None = None) -> Result:
    environment = {"LOTTERYBENCH_DATA": str(data or store)}
    done = CliRunner(env=environment).invoke(cli, ["plan", *arguments, "--results", str(store)])
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80 or "--json" in arguments
    return done


@pytest.fixture
def bought(tmp_path: Path) -> Result:
    """Of three protocols, the first needs no data, no claim rests on the second, data of the third is not there."""
    selected = ("elesedy/linear-40", "iht/oracle-20", "grasp/vgg19-cifar100")
    return plan(tmp_path, *selected, "--buy", "verdicts", "--budget", "2h")


def test_what_is_not_bought_is_not_done(bought: Result) -> None:
    text = " ".join(bought.stdout.split())
    assert "elesedy-6" in text
    assert "2 more protocols, nothing bought of any" in text
    assert " done" not in text


def test_only_data_that_a_bought_cell_needs_would_be_downloaded(bought: Result, tmp_path: Path) -> None:
    assert "cifar100" not in bought.stdout
    assert "cifar100 (1 protocol)" in " ".join(plan(tmp_path, "elesedy/*", "grasp/vgg19-cifar100").stdout.split())


def test_progress_is_told_on_stderr_and_the_table_is_explained(bought: Result) -> None:
    assert "claims simulated" in bought.stderr
    assert "claims simulated" not in bought.stdout
    assert "chance: of being decided" in bought.stdout
    assert "base rate: the share of comparable claims" in " ".join(bought.stdout.split())


def test_unfinished_work_never_takes_no_time_and_says_what_an_estimate_is_from(tmp_path: Path) -> None:
    """The matrices of linear-40 take milliseconds; nothing was measured here, on a core or on a GPU."""
    for device in ("cpu", "cuda"):
        text = plan(tmp_path, "elesedy/linear-40", "--device", device).stdout
        assert " 0 s" not in text
        assert "20 cells left, < 1 s here" in text
        assert "estimated from operations: 1 of 1 protocol" in text
    cells = json.loads(plan(tmp_path, "elesedy/linear-40", "--json").stdout)
    assert sum(entry["left"] for entry in cells) == 20


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "< 1 s"), (0.99, "< 1 s"), (1, "1 s"), (720, "12 min"), (8280, "2.3 h"), (3600 * 99.94, "99.9 h"),
     (3600 * 402.2, "400 h"), (3600 * 1_144_377.7, "1,100,000 h")],
)  # fmt: skip
def test_a_length_of_time(seconds: float, words: str) -> None:
    assert spoken(seconds) == words
