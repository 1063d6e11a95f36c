"""A plugin on a protocol that does not name it, from the command line: real training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import in_process
from submissions import PLUGIN

from benchmark.harness import masks
from benchmark.harness.harness import Harness, Settings
from benchmark.plugins.load import from_file
from benchmark.protocols import load_file
from benchmark.records.store import Store
from benchmark.records.submissions import added_to, of_protocol
from benchmark.sharing.remeasure import mask_again

OBD = Path(__file__).parents[1] / "support" / "obd.py"


def lotterybench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "benchmark.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env={**os.environ})


pytestmark = pytest.mark.usefixtures("answered_here")


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    return path


def test_from_a_plugin_to_records_and_back(tmp_path: Path, tiny_path: Path, plugin: Path) -> None:
    """Measured beside dense; known to every verb from the folder alone; refused once edited; left out without file."""
    protocol, root = load_file(tiny_path), tmp_path / "r"
    place = ["--results", str(root), "--workers", "1"]
    with_plugin = ["--plugin", str(plugin), "--set", "alpha=0.5"]
    here = ["--executor", "in-process"]
    done = in_process("run", str(tiny_path), *place, *with_plugin, *here)
    assert done.returncode == 0, done.stderr
    records = Store(root).records(protocol)
    assert {r.status for r in records} == {"finished"}
    mine = [r for r in records if r.method.name == "mine@alpha=0.5"]
    assert len(mine) == 4
    assert {(r.method.pruner, r.method.parameters["alpha"]) for r in mine} == {("mine", 0.5)}
    assert {r.protocol.digest for r in records} == {protocol.digest}

    rows = json.loads(in_process("status", str(tiny_path), "--results", str(root), "--json").stdout)["methods"]
    assert {row["method"]: row["finished"] for row in rows}["mine@alpha=0.5"] == 4
    nothing = in_process("run", f"{tiny_path}:mine@alpha=0.5", *place)
    assert "Nothing is missing" in nothing.stdout

    next(root.glob("tests/tiny@1/mine@*/level-03_seed-0.json")).unlink()
    left_out = in_process("run", f"{tiny_path}:mine@alpha=0.5", *place)
    assert left_out.returncode == 2
    assert "--plugin mine.py" in left_out.stderr
    recheck = ["--recheck", str(tmp_path / "again")]
    again = in_process("run", f"{tiny_path}:mine", "--results", str(root), *with_plugin, *here, *recheck)
    assert again.returncode == 0, again.stderr
    assert "4 cells measured again here, 4 identical bit for bit" in again.stdout

    plugin.write_text(PLUGIN.replace("w.abs()", "-w.abs()"))
    edited = in_process("run", str(tiny_path), *place, *with_plugin, "--retry-failed")
    assert edited.returncode == 2
    assert "its code changed" in edited.stderr
    assert "Traceback" not in edited.stderr


@pytest.mark.long
def test_existing_methods_train_to_the_same_bits_beside_a_plugin(tmp_path: Path, tiny_path: Path, plugin: Path) -> None:
    protocol = load_file(tiny_path)
    prints = []
    for name, extra in (("with", [f"{tiny_path}:mine", "--plugin", str(plugin)]), ("without", [])):
        arguments = [f"{tiny_path}:snip", f"{tiny_path}:one-shot", *extra, "--results", str(tmp_path / name)]
        assert lotterybench("run", *arguments, "--workers", "1").returncode == 0
        records = Store(tmp_path / name).records(protocol)
        prints.append({r.fingerprint() for r in records if r.method.name != "mine"})
    assert prints[0] == prints[1]
    assert len(prints[0]) == 8  # snip 2, one-shot 4, and the dense networks that one-shot starts from


def test_trained_weights_come_from_the_dense_network(tmp_path: Path, tiny_path: Path, plugin: Path) -> None:
    """Magnitude of trained weights as a plugin makes the masks of the protocol's own one-shot magnitude pruning."""
    text = PLUGIN.replace('"labels"', '"trained weights"').replace("rounds = 3", 'rounds, allocation = 1, "layerwise"')
    plugin.write_text(text)
    root = tmp_path / "r"
    arguments = ["run", f"{tiny_path}:mine", f"{tiny_path}:one-shot", "--results", str(root)]
    done = in_process(*arguments, "--plugin", str(plugin), "--executor", "in-process")
    assert done.returncode == 0, done.stderr
    records = Store(root).records(load_file(tiny_path))
    figures = {
        name: {(r.cell.level, r.cell.seed): (r.mask, r.measured) for r in records if r.method.name == name}
        for name in ("mine", "one-shot")
    }
    common = figures["mine"].keys() & figures["one-shot"].keys()
    assert len(common) == 2
    assert all(figures["mine"][key] == figures["one-shot"][key] for key in common)


def test_optimal_brain_damage_gets_trained_weights_and_labels(
    tmp_path: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third party's pruner with a set of needs: checked, run confined, and its masks are those of this process."""
    protocol, root = load_file(tiny_path), tmp_path / "r"
    done = in_process(
        "run", f"{tiny_path}:obd", "--results", str(root), "--plugin", str(OBD), "--executor", "in-process"
    )
    assert done.returncode == 0, done.stderr
    store = Store(root)
    (submission,) = of_protocol(store, protocol).values()
    assert submission.needs == "labels and trained weights"
    assert submission.method.schedule.scores == "trained"
    records = [record for record in store.records(protocol) if record.method.name == "obd"]
    assert records
    assert {record.status for record in records} == {"finished"}
    examples = 5 * 4  # examples_per_class, classes
    for record in records:
        assert record.cost is not None
        assert (record.cost.prune_forward_passes, record.cost.prune_backward_passes) == (examples, examples)

    monkeypatch.setattr(masks.Confinement, "confines", lambda *_: False)
    monkeypatch.setattr(masks, "make_own", lambda source, parameters: from_file(source.file).make(parameters))
    added = added_to(protocol, {"obd": submission})
    here = Harness(added, store, Settings(plugins={"obd": OBD}))
    for record in records:
        assert mask_again(here.masks, record).identical
