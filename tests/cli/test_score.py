"""`score`: what its exit code says."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from benchmark.cli.main import cli

ROOT = Path(__file__).parents[2]


def test_a_deviation_is_exit_code_1() -> None:
    """LTH's Conv-6 has another share of its weights in linear layers than printed, which no record can change."""
    done = CliRunner().invoke(cli, ["score", "--results", str(ROOT / "results"), "--json"])
    verdicts = {decision["claim"]: decision["verdict"] for decision in json.loads(done.stdout)}
    assert verdicts["lth-26-conv6"] == "contradicted"
    assert done.exit_code == 1
