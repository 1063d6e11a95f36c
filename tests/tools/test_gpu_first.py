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
    first.run_all(stages, tmp_path, 60.0, first.environment(None))
    first.run_all(stages[2:], tmp_path, 5.0, first.environment(None))
    assert [(line["stage"], line.get("ended")) for line in lines(tmp_path)] == [
        ("hangs", "out of its time box"), ("breaks", 3), ("works", 0), ("works", None),
    ]  # fmt: skip
    assert "left_out" in lines(tmp_path)[-1]
    assert (tmp_path / "works.txt").read_text().strip() == str(tmp_path)


def test_it_fits_the_time(first: Any) -> None:
    """Ten minutes, three of fifteen to spare and the rest for starting; every protocol that it names is there."""
    assert sum(stage.seconds for stage in first.STAGES) <= 600
    for name in (first.LENET, first.RESNET, first.VGG):
        assert load(name).trains
    pinned = (PATH.parents[1] / "constraints.txt").read_text().lower().replace("_", "-")
    assert [name for name in first.NEEDED if f"\n{name.lower()}==" not in f"\n{pinned}"] == []


def test_wheels_are_on_the_path_of_stages(first: Any, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "carried-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carried.py", "print('carried')")
    env = first.environment(tmp_path)
    assert first.run_stage(first.Stage("imports", 30.0, ("-c", "import carried")), tmp_path, 30.0, env) == 0
    assert (tmp_path / "imports.txt").read_text() == "carried\n"
