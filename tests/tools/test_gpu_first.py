"""The first minutes on a GPU: stages in their time boxes, results as they come. No stage runs here."""

from __future__ import annotations

import importlib.util
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from benchmark.protocols import load

PATH = Path(__file__).parents[2] / "tools" / "gpu_first.py"


@pytest.fixture(scope="module")
def first() -> Any:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("gpu_first", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["gpu_first"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def test_a_stage_that_hangs_or_breaks_ends_alone(first: Any, tmp_path: Path) -> None:
    """One out of its box, one that fails, one that works; what no time is left for is said."""
    stages = (
        first.Stage("hangs", 1.0, ("-c", "import time; time.sleep(60)")),
        first.Stage("breaks", 20.0, ("-c", "raise SystemExit(3)")),
        first.Stage("works", 20.0, ("-c", "print('OUT')")),
    )
    first.run_all(stages, tmp_path, first.SECONDS, first.environment(None, tmp_path))
    first.run_all(stages[2:], tmp_path, 0.0, first.environment(None, tmp_path))
    assert [(line["stage"], line.get("ended")) for line in lines(tmp_path)] == [
        ("hangs", "out of its time box"), ("breaks", 3), ("works", 0), ("works", None),
    ]  # fmt: skip
    assert "left_out" in lines(tmp_path)[-1]
    assert (tmp_path / "works.txt").read_text().strip() == str(tmp_path)


def test_it_fits_the_time(first: Any) -> None:
    """Ten minutes, three of fifteen to spare and the rest for starting; every protocol that it names is there."""
    assert sum(stage.seconds for stage in first.STAGES) <= first.SECONDS == 600
    for name in (first.LENET, first.RESNET, first.VGG):
        assert load(name).trains
    pinned = (PATH.parents[1] / "constraints.txt").read_text().lower().replace("_", "-")
    assert set(first.FEW) < set(first.NEEDED)
    assert [name for name in first.NEEDED if f"\n{name.lower()}==" not in f"\n{pinned}"] == []


def test_wheels_are_on_the_path_of_stages(first: Any, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "carried-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carried.py", "print('carried')")
    env = first.environment(tmp_path, tmp_path)
    assert first.run_stage(first.Stage("imports", 30.0, ("-c", "import carried")), tmp_path, 30.0, env) == 0
    assert (tmp_path / "imports.txt").read_text() == "carried\n"


def test_a_checkout_says_what_its_plugins_are(first: Any, tmp_path: Path) -> None:
    """Where the suite is not installed: the pruners and hooks of pyproject.toml are found all the same."""
    asks = (
        "from importlib.metadata import entry_points as e; print(sorted(p.name for p in e(group='lotterybench.hooks')))"
    )
    env = {**first.environment(None, tmp_path), "PYTHONNOUSERSITE": "1"}
    assert first.run_stage(first.Stage("asks", 30.0, ("-S", "-c", asks)), tmp_path, 30.0, env) == 0
    assert "'rigl'" in (tmp_path / "asks.txt").read_text()


def test_a_run_ends_before_its_box(first: Any, tmp_path: Path) -> None:
    """Its budget is the box less what starting and ending take, whatever the box is."""
    stage = first.Stage("run", 30.0, ("-c", "import sys; print(sys.argv[1])", "BUDGETs"))
    first.run_stage(stage, tmp_path, 90.0, first.environment(None, tmp_path))
    assert (tmp_path / "run.txt").read_text() == "65s\n"
