"""`score`: what its exit code says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from builders import Outcome, fill
from click.testing import CliRunner

from benchmark.claims.evidence import Verdict
from benchmark.claims.papers import load_all
from benchmark.claims.verdicts import decide
from benchmark.cli.main import cli
from benchmark.cli.verdicts import show_what_matters
from benchmark.protocols import load
from benchmark.records.store import Store

ROOT = Path(__file__).parents[2]
RESULTS = ("--results", str(ROOT / "results"))


def test_statements_have_the_room_that_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No line beyond 80 columns, a long verdict whole, and of other statements no less because of it."""
    made = decide(Store(tmp_path), [load("mnist1d/mlp")])[0]
    long = replace(made, claim="a-claim-with-the-longest-name", statement="seven eleven " * 20)
    verdicts: tuple[tuple[Verdict, bool], ...] = (("reproduced", True), ("reproduced", False), ("deviates", False))
    show_what_matters([replace(long, verdict=v, runs_missing=int(p)) for v, p in verdicts], Store(tmp_path))
    lines = capsys.readouterr().out.splitlines()
    cut = [line for line in lines if line.endswith("…")]
    assert max(map(len, lines)) <= 80
    assert sorted(line.count("even") for line in cut) == [3, 5, 5]
    assert any("reproduced, provisional  seven" in line for line in cut)


def test_power_gives_each_statement_a_line(tmp_path: Path) -> None:
    """Of the claims nearest to a verdict where nothing is measured: rows of 80 columns, under each its statement."""
    lines = CliRunner().invoke(cli, ["power", "--results", str(tmp_path)]).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [n for n, line in enumerate(lines) if "  not measured  " in line]
    known = {claim.id: claim.statement for paper in load_all() for claim in paper.claims}
    for row in rows:
        said, statement = next(line for line in lines[row + 1 :] if line[2:3].strip()), known[lines[row].split()[0]]
        assert statement.startswith(said.strip().rstrip("…"))
        assert said.endswith("…") or said.strip() == statement
    assert len(rows) == 20


def test_a_deviation_is_exit_code_1() -> None:
    """Committed records decide some claims against what was published."""
    done = CliRunner().invoke(cli, ["score", *RESULTS, "--json"])
    verdicts = {decision["claim"]: decision["verdict"] for decision in json.loads(done.stdout)}
    assert verdicts["lth-26-conv6"] == "contradicted"
    assert done.exit_code == 1


def test_without_a_record_nothing_is_measured_whatever_arithmetic_says(tmp_path: Path) -> None:
    """Three claims on the size of networks need no run: they are shown, and the exit code is that of an empty folder.

    With a first record, of a protocol of which no claim is decided, it is 0: arithmetic alone sets no code.
    """
    done = CliRunner().invoke(cli, ["score", "--results", str(tmp_path)])
    assert "lth-26-conv6  contradicted" in done.stdout
    assert done.exit_code == 2
    protocol, store = load("mnist1d/mlp"), Store(tmp_path)
    fill(store, protocol, lambda cell: Outcome(60.0 + cell.seed, 2), ["dense"])
    done = CliRunner().invoke(cli, ["score", "--results", str(tmp_path)])
    assert "lth-26-conv6  contradicted" in done.stdout
    assert done.exit_code == 0, done.stdout
