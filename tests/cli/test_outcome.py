"""What a run says at its end, and what `score` shows first: both from the records, held against `verdicts.decide`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from builders import Outcome, fill
from click.testing import CliRunner

from benchmark.claims.evidence import UNDECIDED
from benchmark.claims.papers import load_all
from benchmark.claims.verdicts import Decision, decide
from benchmark.cli.main import cli
from benchmark.cli.outcome import Served, conclusion, last_changes, nearest_words, that_matter, verdict_words
from benchmark.harness.executors.executor import title
from benchmark.planning.plan import plan
from benchmark.protocols import Protocol, load
from benchmark.protocols.cells import Cell, cells_of, density_text
from benchmark.records.store import Store

CURVE = "mnist1d-curve-random"


def measured(store: Store, protocol: Protocol, *methods: str) -> list[str]:
    """Records of every cell of some methods, at 90 %; their titles."""
    fill(store, protocol, lambda cell: Outcome(90.0 + 0.1 * cell.seed, 2), methods)
    return [title(protocol, cell) for method in methods for cell in cells_of(protocol, method)]


@pytest.fixture(scope="module")
def decisions() -> list[Decision]:
    protocol = load("mnist1d/mlp")
    return decide(Store(Path("nowhere")), [protocol])


def test_a_run_says_which_verdict_it_changed_and_score_repeats_it(tmp_path: Path) -> None:
    """Random masks at 90 % accuracy everywhere are far from what was published: the curve deviates, at once."""
    protocol, store = load("mnist1d/mlp"), Store(tmp_path)
    recorded = measured(store, protocol, "dense", "random")
    text = conclusion([protocol], store, recorded)
    verdict = {d.claim: d.spoken_verdict for d in decide(store, [protocol])}[CURVE]
    assert verdict.startswith("deviates")
    assert f"{CURVE} now {verdict}" in text
    assert last_changes(store)[CURVE] == ("not measured", verdict)
    assert "No verdict changed" in conclusion([protocol], store, ["none of them"])
    shown = CliRunner().invoke(cli, ["score", "--results", str(tmp_path)])
    assert shown.exit_code == 1
    assert f"Changed by the last run: {CURVE}, from not measured to {verdict}" in shown.stdout
    first = next(line for line in shown.stdout.splitlines() if line.startswith(("mnist1d-", "lth-", "synflow-")))
    assert " deviates" in first or " contradicted" in first, "what does not hold comes first"
    assert len(shown.stdout.splitlines()) <= 26
    assert max(map(len, shown.stdout.splitlines())) <= 80


def test_what_open_claims_need_is_counted_from_the_nearest(decisions: list[Decision]) -> None:
    def needing(number: int | None) -> Decision:
        return replace(decisions[0], verdict="inconclusive", seeds_still_needed=number)

    assert nearest_words([needing(4), needing(1), needing(1), needing(None)]) == "2 claims need 1 more seed each"
    assert nearest_words([needing(3)]) == "1 claim needs 3 more seeds"
    assert nearest_words([needing(None), decisions[0]]) == ""
    looked = replace(needing(2), looks_left=(5, 10))
    assert nearest_words([looked, needing(3)]) == "1 claim reaches its next look with 2 more seeds"
    assert nearest_words([looked, looked]) == "2 claims reach their next look with 2 more seeds"


def test_the_rows_that_matter_are_few_and_in_order(decisions: list[Decision]) -> None:
    """30 that hold, 1 that does not, 9 near a verdict: a quarter of the rows is left to those that are near."""
    known = replace(decisions[0].checks[0], verdict="inconclusive")
    held = [replace(decisions[0], claim=f"h{n}", verdict="reproduced") for n in range(30)]
    wrong = replace(decisions[0], claim="w", verdict="deviates")
    near = [
        replace(decisions[0], claim=f"n{n}", verdict="inconclusive", seeds_still_needed=9 - n, checks=(known,))
        for n in range(9)
    ]
    shown = that_matter([*held, wrong, *near], {"h29"}, 20)
    assert [d.claim for d in shown[:2]] == ["w", "h29"]
    assert len(shown) == 20
    assert [d.claim for d in shown[15:]] == ["n8", "n7", "n6", "n5", "n4"]
    assert all(d.verdict not in UNDECIDED for d in shown[:15])
    assert verdict_words([*held, wrong, *near]).startswith("31 claims decided (30 reproduced, 1 deviates); 9 incon")


def test_a_cell_names_the_claims_that_rest_on_it(tmp_path: Path) -> None:
    protocol = load("mnist1d/mlp")
    served = Served(plan([(protocol, "random")], Store(tmp_path)))
    level = protocol.measured_levels("random")[0]
    words = served.words(title(protocol, Cell("random", level, protocol.seeds[0])))
    assert CURVE in words
    claims = [claim for paper in load_all() for claim in paper.claims if protocol.id in claim.cells]
    assert any(claim.id == CURVE and ("random", level) in claim.cells[protocol.id] for claim in claims)
    assert served.words(f"{protocol.id} imp at {density_text(protocol, 1)}, seed 0") == "", "not in this plan"
