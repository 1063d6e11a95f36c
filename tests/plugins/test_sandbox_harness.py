"""Isolation through the harness and the command line: a failed record with a reason, and the run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from command_line import in_process
from plugin_files import SMALL, plugin

from benchmark.harness.harness import Harness, Settings
from benchmark.harness.masks import Confinement
from benchmark.planning.plan import jobs
from benchmark.plugins.sandbox.confinement import describe
from benchmark.protocols import Protocol
from benchmark.records.schema import Record
from benchmark.records.store import Store

ROOT = Path(__file__).parents[2]


def run(protocol: Protocol, root: Path, methods: list[str], body: str, seconds: float = 5.0) -> dict[str, Record]:
    """Records of some methods, by method and level, with a plugin of these lines in the place of SNIP."""
    limits = SMALL.__class__(**{**vars(SMALL), "seconds": seconds})
    source = plugin(root, body, needs="labels")
    store = Store(root / "results")
    harness = Harness(
        protocol, store, Settings(data_root=root, plugins={"snip": source.file}, confinement=Confinement(limits))
    )
    for job in jobs(protocol, methods, store):
        assert harness.run(job)
    return {f"{r.method.name} {r.cell.level} {r.cell.seed}": r for r in store.records(protocol)}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("ctypes.string_at(0)", "pruner 'mine': was killed by SIGSEGV"),
        ("raise SystemExit", "pruner 'mine': raised SystemExit"),
        ("time.sleep(60)", "pruner 'mine': took longer than 1 s"),
        ("scores['fc1.weight'][0, 0] = float('inf')", "pruner 'mine': scores for 'fc1.weight' hold NaN"),
        ("while True: os.write(1, b'x' * 65536)", "pruner 'mine': printed more than"),
    ],
)
def test_the_run_goes_on(tmp_path: Path, tiny_protocol: Protocol, body: str, reason: str) -> None:
    records = run(tiny_protocol, tmp_path, ["snip", "random"], body, seconds=1.0)
    for seed in (0, 1):
        failed = records[f"snip 3 {seed}"]
        assert failed.status == "failed"
        assert failed.reason is not None
        assert failed.reason.startswith(reason)
        assert failed.mask is None
        assert records[f"random 3 {seed}"].status == "finished"


def test_examples_are_of_the_training_set_and_as_many_as_the_protocol_says(
    tmp_path: Path, tiny_protocol: Protocol
) -> None:
    body = (
        "assert examples.inputs.shape == (20, 12) and sorted(examples.labels.tolist()) == sorted([0, 1, 2, 3] * 5)\n"
        "assert network.masks['fc1.weight'].all() and not network.module.training"
    )
    records = run(tiny_protocol, tmp_path, ["snip"], body)
    assert {record.status for record in records.values()} == {"finished"}, [r.reason for r in records.values()]


def test_later_rounds_have_another_draw_and_the_first_is_everybodys(tmp_path: Path, tiny_protocol: Protocol) -> None:
    maker = Harness(tiny_protocol, Store(tmp_path / "results"), Settings(data_root=tmp_path)).masks
    given = [maker._examples("labels", 0, number) for number in (1, 1, 2, 3)]
    inputs = [examples.inputs for examples in given if examples is not None]
    assert torch.equal(inputs[0], inputs[1])
    assert not any(torch.equal(inputs[0], other) for other in inputs[2:])
    hidden = maker._examples("inputs", 0, 2)
    assert hidden is not None
    assert torch.equal(hidden.inputs, inputs[2])
    assert set(hidden.labels.tolist()) == {-1}
    assert maker._examples("trained weights", 0, 2) is None


def test_results_and_data_cannot_be_read(tmp_path: Path, tiny_protocol: Protocol) -> None:
    """By none of the ways to a results folder: its own path, the current folder, the harness's open files."""
    if not describe().landlock:
        pytest.skip("this system has no Landlock")
    body = (
        "import pathlib\n"
        f"for path in ({str(tmp_path)!r}, {str(tmp_path / 'results')!r}, {str(ROOT)!r}, '..', '/'):\n"
        "    try: found = os.listdir(path)\n"
        "    except (PermissionError, FileNotFoundError): continue\n"
        "    if path != '..': raise ValueError(path)\n"
        f"for path in ({str(tmp_path / 'mine.py')!r}, {str(ROOT / 'leaderboard.md')!r}, '/proc/1/fd/0'):\n"
        "    try: open(path)\n"
        "    except (PermissionError, FileNotFoundError): continue\n"
        "    raise ValueError(path)"
    )
    records = run(tiny_protocol, tmp_path, ["snip"], body)
    assert {record.status for record in records.values()} == {"finished"}, [r.reason for r in records.values()]


@pytest.mark.long
@pytest.mark.usefixtures("answered_here")
def test_on_the_command_line_it_is_said_what_protects(tmp_path: Path) -> None:
    """`run` says it once; workers of their own processes isolate as well, and a crash is a failed record."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    plugin(folder, "ctypes.string_at(0)", needs="labels").file.rename(folder / "snip.py")
    tiny = ROOT / "tests" / "support" / "protocols" / "tiny.yaml"
    place = ["--plugin", str(folder / "snip.py"), "--results", str(tmp_path / "r")]
    done = in_process("run", f"{tiny}:snip", f"{tiny}:magnitude", "--workers", "1", *place, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(describe().sentence()) == 1
    assert "2 failed" in done.stdout
    assert "SIGSEGV" in "".join(path.read_text() for path in (tmp_path / "r").rglob("snip/*.json"))
