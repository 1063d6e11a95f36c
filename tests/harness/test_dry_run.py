"""`run --dry-steps`: a cell's whole path for a few updates, and no record."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmark.cli.main import cli
from benchmark.harness import dry_run as dry
from benchmark.harness.dry_run import dry_run, little_data, shortened
from benchmark.protocols import Protocol, load
from benchmark.utils.errors import BadInput


def test_every_kind_of_method_of_the_tiny_protocol(tiny_protocol: Protocol) -> None:
    for method in ("dense", "imp", "imp-rewind", "fine-tune", "snip", "synflow", "random+shuffle"):
        done = dry_run(tiny_protocol, method, 3)
        assert done.updates == (2 if method == "imp-rewind" else 3) - (method == "imp-rewind")
        level = tiny_protocol.level_table[done.cell.level]
        assert done.mask == f"{level.kept} of {level.prunable} weights"
        assert done.data == "synthetic, whole"


def test_nothing_is_written_and_the_protocol_stays(tiny_path: Path, tmp_path: Path) -> None:
    target = tmp_path / "results"
    command = ["run", f"{tiny_path}:snip", "--dry-steps", "2", "--results", str(target)]
    outcome = CliRunner().invoke(cli, command)
    assert outcome.exit_code == 0, outcome.output
    assert "tests/tiny:snip at 24.1 %, seed 0: 2 updates of 20, 85 of 352 weights" in outcome.output
    assert "Nothing was recorded" in outcome.output
    assert not target.exists()


def test_without_a_method_the_first_cell_of_each_protocol_is_run(tiny_path: Path, tmp_path: Path) -> None:
    command = ["run", str(tiny_path), "mnist1d/mlp", "--dry-steps", "1", "--results", str(tmp_path / "r")]
    outcome = CliRunner().invoke(cli, command)
    assert outcome.exit_code == 0, outcome.output
    lines = outcome.output.splitlines()
    assert [line.split(" at ")[0] for line in lines[:-1]] == ["tests/tiny:dense", "mnist1d/mlp:dense"]


def test_absent_data_is_replaced_and_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOTTERYBENCH_DATA", str(tmp_path))
    monkeypatch.setattr(dry, "data_root", lambda: tmp_path)
    protocol = load("missingmark/resnet18-tiny")
    data, words = little_data(protocol)
    assert words == "RANDOM PIXELS: tiny-imagenet is not here"
    assert data.train_inputs.shape[1:] == (3, 64, 64)
    assert data.train_labels.bincount().tolist() == [12] * 200
    assert data.prepare.augmentation == protocol.data.augmentation


def test_a_shortened_protocol_changes_lengths_only() -> None:
    protocol = load("renda2020/resnet20-cifar10")
    short = shortened(protocol, 5)
    assert short.digest != protocol.digest
    assert (short.network, short.pruning, short.level_table) == (
        protocol.network,
        protocol.pruning,
        protocol.level_table,
    )
    assert short.recipe.model_copy(update={"steps": protocol.recipe.steps}) == protocol.recipe
    assert short.evaluation.steps(5) == (0, 5)
    assert short.pruning_method("lr-rewind-90").schedule.restart == 4


def test_a_failing_pruner_is_an_error(tiny_protocol: Protocol, tmp_path: Path) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text(
        "from benchmark.api import Pruner\n\nclass Broken(Pruner):\n    def score(self, network, examples, rng):\n"
        "        return {}\n"
    )
    spec = tiny_protocol.pruning_method("snip").model_copy(update={"pruner": "broken"})
    wider = tiny_protocol.with_added({"broken": spec})
    with pytest.raises(BadInput, match="no scores for"):
        dry_run(wider, "broken", 2, {"broken": plugin})
