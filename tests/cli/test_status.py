"""What `status` says: hours left for each verdict, how good its guesses are, who works where and where the logs are."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from builders import Outcome, record
from click.testing import CliRunner

from benchmark.claims.papers import load_all
from benchmark.cli.main import cli
from benchmark.cli.status import show_progress
from benchmark.planning.cost import assumed, this_device
from benchmark.planning.priority import cells_needed
from benchmark.protocols import Protocol, load
from benchmark.protocols.cells import DENSE, Cell, cells_of, train_steps
from benchmark.records.store import Store
from benchmark.utils.files import write_atomically


def status(store: Store, *arguments: str) -> str:
    done = CliRunner().invoke(cli, ["status", *arguments, "--results", str(store.root)])
    assert done.exit_code == 0, done.output
    return done.stdout


def document(store: Store, *arguments: str) -> Any:
    return json.loads(status(store, *arguments, "--json"))


def keep(store: Store, protocol: Protocol, cells: Iterable[Cell], hours: float) -> None:
    """Finished records made here, each of which took so many hours."""
    for cell in cells:
        made = record(protocol, cell, Outcome(50.0 + cell.seed, 2))
        assert made.cost is not None
        cost = made.cost.model_copy(update={"train_seconds": 3600 * hours, "train_cpu_seconds": 3600 * hours})
        here = made.provenance.model_copy(update={"device": this_device()})
        store.write(protocol, cell, made.model_copy(update={"cost": cost, "provenance": here}), None)


def test_the_hours_left_for_a_verdict_by_hand(tmp_path: Path) -> None:
    """Where a training takes two hours, a claim has left two hours for each of its cells that has no record."""
    protocol, store = load("lth/conv2-cifar10"), Store(tmp_path)
    claim = next(c for paper in load_all() for c in paper.claims if c.id == "lth-15")
    needed = cells_needed(claim, protocol)
    keep(store, protocol, cells_of(protocol, DENSE), 2.0)
    left = [cell for cell in needed if cell.method != DENSE]
    assert 0 < len(left) < len(needed)
    found = next(row for row in document(store, protocol.id)["claims"] if row["claim"] == claim.id)
    full = protocol.recipe.steps
    assert found["cells_left"] == len(left)
    assert found["core_hours_left"] == pytest.approx(
        2 * sum(train_steps(protocol, cell) for cell in left) / full, abs=0.01
    )
    keep(store, protocol, left, 2.0)
    found = next(row for row in document(store, protocol.id)["claims"] if row["claim"] == claim.id)
    assert (found["cells_left"], found["core_hours_left"]) == (0, 0.0)


def test_the_hours_of_a_gpu(tmp_path: Path, tiny_protocol: Protocol, tiny_path: Path) -> None:
    """On a GPU of which nothing is known sixty-four small networks take what one takes: 58 are side by side."""
    store = Store(tmp_path)
    found = document(store, f"{tiny_path}:dense", "--device", "cuda")
    share = assumed(tiny_protocol, "cuda: Test") / 58
    assert found["costs"][0]["seconds_per_step"] == pytest.approx(share)
    assert found["methods"][0]["gpu_hours_left"] == round(2 * 20 * share / 3600, 2)
    assert "of one GPU left" in status(store, f"{tiny_path}:dense", "--device", "cuda")


def test_how_far_guesses_were_off(tmp_path: Path, tiny_protocol: Protocol, tiny_path: Path) -> None:
    """One training took an hour, the other two: each guessed from the other is off by 100 % and 50 %."""
    store = Store(tmp_path)
    for seed, hours in ((0, 1.0), (1, 2.0)):
        keep(store, tiny_protocol, [Cell(DENSE, 0, seed)], hours)
    costs = document(store, str(tiny_path))["costs"][0]
    assert (costs["records"], costs["error"]) == (2, pytest.approx(0.75))
    line = next(line for line in status(store, str(tiny_path)).splitlines() if " ms " in line)
    assert "75 %" in line


def test_where_the_logs_are(
    tmp_path: Path, tiny_protocol: Protocol, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a worker that was told of its log, as Slurm's tasks are, and of an array that was submitted."""
    store, log = Store(tmp_path), str(tmp_path / "logs/7_1_0_log.out")
    monkeypatch.setenv("LOTTERYBENCH_LOG", log)
    note = {"job": "7", "tasks": 2, "logs": str(tmp_path / "logs"), "submitted": "2026-01-01 00:00:00"}
    write_atomically(store.work / "slurm/one/submission.json", json.dumps(note).encode(), store.work)
    with store.lock(tiny_protocol, "imp_seed-0", wait=False):
        found, shown = document(store, str(tiny_path)), status(store, str(tiny_path))
    assert [(worker["job"], worker["log"]) for worker in found["workers"]] == [("imp_seed-0", log)]
    assert [(each["job"], each["logs"]) for each in found["submissions"]] == [("7", note["logs"])]
    assert log in shown
    assert "not known any more" in shown, "Slurm's own word is asked for, and there is none"
    assert "Running" not in status(store, str(tiny_path))


def test_a_failed_cell_counts_as_failed(tmp_path: Path, tiny_protocol: Protocol, tiny_path: Path) -> None:
    store, cell = Store(tmp_path), Cell(DENSE, 0, 0)
    store.write(tiny_protocol, cell, record(tiny_protocol, cell, Outcome(0.0, failed="diverged")), None)
    row = document(store, f"{tiny_path}:dense")["methods"][0]
    assert [row[word] for word in ("finished", "running", "failed", "missing")] == [0, 0, 1, 1]


def test_many_protocols_fit_one_screen_and_all_shows_every_method(tmp_path: Path) -> None:
    """Sums and what is begun, 23 lines of 80 characters and a prompt below them; columns of zeros are left out; `--all`
    names each method."""
    protocol, store = load("mnist1d/mlp"), Store(tmp_path)
    keep(store, protocol, cells_of(protocol, DENSE), 0.5)
    lines = status(store).splitlines()
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    assert "10 finished, 0 running, 0 failed" in lines[0]
    heading = next(line for line in lines if line.startswith("protocol"))
    assert "running" not in heading
    assert next(line for line in lines if line.startswith(protocol.id)).split()[1] == "10"
    assert any(line.startswith("elesedy-6 ") and "< 0.01" in line for line in lines), "nearest, though not begun"
    assert "About 1,100,000 h of one core left." in lines[1] or lines[1].endswith("00,000 h of one core left.")
    every = status(store, "mnist1d/*", "lth/*", "--all")
    assert all(f" {method} " in every for method in ("imp+reinit", "one-shot", "random"))


def test_one_screen_whatever_is_going_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Forty protocols begun, long names, sixteen workers and three arrays: still 23 lines of 80 characters; no word of
    a note in the results folder moves the cursor."""
    methods = [
        {"protocol": f"paper/network{n}-dataset", "method": "imp", "finished": n, "running": n % 2, "failed": n % 3,
         "missing": 9, "core_hours_left": 1.0} for n in range(40)
    ]  # fmt: skip
    claims = [
        {"claim": f"a-long-name-of-a-claim-{n}", "verdict": "inconclusive", "cells_left": n, "core_hours_left": n / 9,
         "more_seeds": 2} for n in range(40)
    ]  # fmt: skip
    worker = {"protocol": "paper/network0-dataset", "job": "imp_seed-0", "host": "\x1b[2Jhost", "pid": 7, "log": "\x1b"}
    note = {"job": "\x1b7", "submitted": "today", "tasks": 2, "states": {}, "logs": "\x1b/logs"}
    told = {"methods": methods, "costs": [], "claims": claims, "workers": [worker] * 16, "submissions": [note] * 3}
    show_progress(told, "core", every=False)
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert 20 <= len(lines) <= 23
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("16 jobs running, imp_seed-0 of paper/network0-dataset") for line in lines)
    assert "3 submissions to Slurm" in shown
    show_progress(told, "core", every=True)
    every = capsys.readouterr().out
    assert every.count("imp_seed-0") == 16
    assert "Logs of job \\x1b7: \\x1b/logs" in every
    assert "\x1b" not in shown + every
