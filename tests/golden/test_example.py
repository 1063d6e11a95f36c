"""examples/lottery_ticket.py shares no code with the suite, and both find the same tickets, weight for weight."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from made_once import made_once
from torch import Tensor

from benchmark.cli.main import cli
from benchmark.datasets import mnist1d

ROOT = Path(__file__).parents[2]
STEPS, DENSITIES = 120, [0.5, 0.2]


@pytest.fixture(scope="module")
def example() -> Iterator[ModuleType]:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("lottery_ticket", ROOT / "examples" / "lottery_ticket.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lottery_ticket"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["lottery_ticket"]


@pytest.fixture(scope="module")
def data(example: ModuleType) -> tuple[Tensor, ...]:
    """The example's data set; the package takes seconds to generate what it reads, so that is done once for all."""
    example.make_dataset = lambda _arguments: mnist1d.generate()  # type: ignore[attr-defined]
    made: tuple[Tensor, ...] = example.data()
    return made


def run_suite(folder: Path) -> None:
    """The same experiment by the suite, into `results` of the folder: by version 1, which computes by torch, as the
    example does."""
    document = yaml.safe_load((ROOT / "benchmark" / "protocols" / "mnist1d" / "mlp@1.yaml").read_text())
    document |= {"id": "mnist1d/example", "seeds": [0], "levels": {"rule": "listed", "densities": DENSITIES}}
    document["recipe"] |= {"steps": STEPS, "adam_epsilon": 1e-8}
    document["evaluation"] |= {"first": 0, "every": STEPS, "test_every": STEPS}
    document["methods"] = {"imp": document["methods"]["imp"]}
    path = folder / "example.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False).replace("1.0e-08", "0.00000001"))
    arguments = [
        "run",
        f"{path}:dense",
        f"{path}:imp",
        "--results",
        str(folder / "results"),
        "--executor",
        "in-process",
    ]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """The suite's records of the same experiment by level: its own protocol, shorter, with the levels above."""
    folder = made_once(tmp_path_factory, "example", run_suite)
    found = [json.loads(file.read_text()) for file in (folder / "results").rglob("level-*.json")]
    return {record["cell"]["level"]: record for record in found}


def everything(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The masks of a dense network."""
    return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}


def digest(masks: dict[str, Tensor]) -> str:
    """sha256 over names, shapes and bits in name order, as records give it; worked out here anew."""
    text = hashlib.sha256()
    for name in sorted(masks):
        text.update(f"{name}{tuple(masks[name].shape)}".encode() + masks[name].byte().numpy().tobytes())
    return text.hexdigest()


def test_the_suite_finds_the_tickets_of_the_example(
    example: ModuleType, data: tuple[Tensor, ...], records: dict[int, dict[str, Any]]
) -> None:
    x, y, x_test, y_test = data
    initial = weights = example.initial_weights(0)
    masks = everything(initial)
    torch.set_flush_denormal(True)
    for level, density in enumerate([1.0, *DENSITIES]):
        if level:
            masks = example.keep_largest({name: w.abs() for name, w in weights.items()}, masks, density)
        weights = example.train(initial, masks, x, y, STEPS)
        assert records[level]["mask"]["sha256"] == digest(masks)
        ours = example.accuracy(weights, x_test, y_test)
        assert records[level]["measured"]["metrics"]["test_accuracy"]["last"] == pytest.approx(ours, abs=0.1)


def test_what_a_mask_removes_stays_zero(example: ModuleType, data: tuple[Tensor, ...]) -> None:
    x, y, *_ = data
    start = example.initial_weights(1)
    masks = example.keep_largest(start, everything(start), 0.1)
    trained = example.train(start, masks, x, y, 5)
    for name, weight in trained.items():
        assert torch.equal(weight != 0, masks[name])


def test_it_uses_nothing_of_the_suite(example: ModuleType) -> None:
    source = Path(str(example.__file__)).read_text()
    imported = {line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))}
    assert imported == {"__future__", "hashlib", "math", "sys", "numpy", "torch", "mnist1d"}


@pytest.mark.long
def test_the_committed_dense_network_is_the_examples(example: ModuleType, data: tuple[Tensor, ...]) -> None:
    """Within 5 points, as tests/golden/test_golden.py allows another processor; the same figure on the records' own."""
    committed = ROOT / "results" / "mnist1d" / "mlp@1" / "dense" / "level-00_seed-0.json"
    theirs = json.loads(committed.read_text())["measured"]["test_accuracy_percent"]["last"]
    x, y, x_test, y_test = data
    initial = example.initial_weights(0)
    torch.set_flush_denormal(True)
    weights = example.train(initial, everything(initial), x, y)
    assert example.accuracy(weights, x_test, y_test) == pytest.approx(theirs, abs=5.0)
