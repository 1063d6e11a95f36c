"""Published numbers: strict files, arithmetic, and agreement with the protocols that decide them."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark import protocol as protocols
from benchmark import published
from benchmark.errors import BadInput
from benchmark.plan import method_names, select
from benchmark.protocol import Protocol
from benchmark.published import Claim
from benchmark.published.rules import Curve, Peak, Rule, Threshold, Value, listed, needed_cells
from benchmark.scoring.curves import pooled_sd
from benchmark.units import density_text

PAPERS = published.load_all()
CLAIMS = [claim for paper in PAPERS for claim in paper.claims]
PROTOCOLS = {protocol.id: protocol for protocol in protocols.load_all()}
CHECKS = [(claim, rule) for claim in CLAIMS for rule in claim.checks]
TABLE = published.table("mnist1d_rounds.csv")


def of(kind: type[Rule]) -> list[tuple[Claim, Any]]:  # type: ignore[valid-type]
    return [(claim, rule) for claim, rule in CHECKS if isinstance(rule, kind)]


def test_both_papers_and_their_claims_are_there() -> None:
    found = {paper.paper.key: {claim.id for claim in paper.claims} for paper in PAPERS}
    assert found["lth"] == {f"lth-{i}" for i in [*range(1, 15), 58, 59]}
    assert {f"mnist1d-{i}" for i in range(1, 5)} < found["mnist1d"]
    left = {entry.id for paper in PAPERS for entry in paper.not_decided}
    assert {f"lth-{i}" for i in (49, 50, 51, 52, 53, 54, 56, 57, 60, 61)} < left


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_claims_name_a_protocol_of_the_same_paper(claim: Claim) -> None:
    paper = next(p for p in PAPERS if claim in p.claims)
    assert PROTOCOLS[claim.protocol].paper.arxiv == paper.paper.arxiv


@pytest.mark.parametrize(("claim", "rule"), CHECKS, ids=[f"{c.id}-{i}" for i, (c, _) in enumerate(CHECKS)])
def test_everything_that_a_claim_needs_is_measured(claim: Claim, rule: Rule) -> None:
    protocol = PROTOCOLS[claim.protocol]
    for method, level in needed_cells(rule):
        if method == "dense":
            assert level == 0
        else:
            assert level in protocol.measured_levels(method), f"{claim.id}: {method} at level {level}"
            spec = protocol.method(method)
            assert level not in getattr(spec, "later", ()), f"{claim.id} needs {method} at {level}, measured last"
    if rule.metric.startswith("early-stop"):
        assert protocol.evaluation.early_stop != "none"


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.paper.key)
def test_printed_densities_are_the_protocols_levels(paper: published.Published) -> None:
    for name, levels in paper.densities.items():
        protocol = PROTOCOLS[name]
        for level, printed in levels.items():
            density = protocol.level_table[level].density
            if protocol.reports_density_as == "log10-compression":
                assert -math.log10(density) == pytest.approx(printed, abs=0.01)
                continue
            exact = 1 - density if protocol.reports_density_as == "sparsity" else 100 * density
            # LTH's percentages are of networks of other layer sizes' rounding too: one unit of the last digit.
            assert exact == pytest.approx(printed, abs=1e-5 if protocol.reports_density_as == "sparsity" else 0.1)


def level_of(protocol: Protocol, percent: float) -> float:
    """The (fractional) level at which this percentage remains."""
    logs = [math.log(level.density) for level in protocol.level_table]
    x = math.log(percent / 100)
    i = next(i for i, value in enumerate(logs) if value <= x)
    return i - 1 + (x - logs[i - 1]) / (logs[i] - logs[i - 1]) if i else 0.0


THRESHOLDS = {  # claim -> per check: the density printed, and whether it is the first one below
    "lth-3": [(3.6, False)],
    "lth-5": [(3.6, False)],
    "lth-9": [(21.1, True), (2.9, True)],
    "lth-11": [(17.6, False)],
    "lth-12": [(5.17, False)],
}


@pytest.mark.parametrize("name", THRESHOLDS)
def test_thresholds_stand_where_the_paper_puts_them(name: str) -> None:
    claim = next(c for c in CLAIMS if c.id == name)
    rules = [rule for rule in claim.checks if isinstance(rule, Threshold)]
    for rule, (percent, first_below) in zip(rules, THRESHOLDS[name], strict=True):
        level = level_of(PROTOCOLS[claim.protocol], percent)
        assert rule.published[1] == pytest.approx(level, abs=0.06)
        assert rule.published[1] - rule.published[0] == (1 if first_below else 0)


def test_every_threshold_is_checked_here() -> None:
    assert {claim.id for claim, _ in of(Threshold)} == set(THRESHOLDS)


@pytest.mark.parametrize(("name", "centre"), [("lth-1", 21.1), ("lth-4", 13.5)])
def test_lth_peaks_have_one_round_either_way(name: str, centre: float) -> None:
    claim = next(c for c in CLAIMS if c.id == name)
    protocol = PROTOCOLS[claim.protocol]
    (peak,) = [rule for rule in claim.checks if isinstance(rule, Peak)]
    level, tolerance = round(level_of(protocol, centre)), protocol.statistics.margins.density_rounds
    assert (peak.window.first, peak.window.last) == (level - tolerance, level + tolerance)


def test_the_mnist1d_peak_is_the_published_range() -> None:
    claim = next(c for c in CLAIMS if c.id == "mnist1d-1")
    (peak,) = [rule for rule in claim.checks if isinstance(rule, Peak)]
    inside = [lv for lv in range(100) if 0.88 <= 1 - PROTOCOLS[claim.protocol].level_table[lv].density <= 0.93]
    assert list(listed(peak.window)) == inside


def test_the_table_holds_400_rounds_and_the_facts() -> None:
    assert sorted(TABLE) == sorted((method, level) for method in ("imp", "random") for level in range(100))
    assert {len(values) for values in TABLE.values()} == {2}
    facts = [fact for paper in PAPERS for fact in paper.facts]
    assert len(facts) == 14
    for fact in facts:
        assert TABLE[fact.method, fact.level] == fact.values


def test_the_tables_rounds_are_the_protocols_levels() -> None:
    lines = (published.folder() / "mnist1d_rounds.csv").read_text().splitlines()[1:]
    table = PROTOCOLS["mnist1d/mlp"].level_table
    for line in lines:
        _, _, number, sparsity, *_ = line.split(",")
        assert 1 - table[int(number) - 1].density == pytest.approx(float(sparsity), abs=2e-5)


def test_the_value_claim_follows_from_the_table() -> None:
    ((claim, value),) = [(c, r) for c, r in of(Value) if c.id == "mnist1d-3"]
    assert value.published.values == TABLE["imp", 91]
    assert sum(TABLE["imp", 91]) / 2 == pytest.approx(75.0)
    sd, df = pooled_sd([TABLE["imp", level] for level in range(99)])
    assert (value.published.sd, value.published.sd_df) == (pytest.approx(sd, abs=5e-5), df)
    assert density_text(PROTOCOLS[claim.protocol], 91) == "0.919"


def test_curve_claims_have_a_published_value_at_every_level() -> None:
    curves = of(Curve)
    assert {rule.of.method for _, rule in curves} == {"imp", "random"}
    for _, rule in curves:
        assert all((rule.of.method, level) in published.table(rule.table) for level in listed(rule.of.levels))
        assert rule.metric == "last-accuracy"  # the column that `table` reads


def test_the_cells_of_a_claim_can_be_selected_for_running() -> None:
    for claim, rule in CHECKS:
        for method, _ in needed_cells(rule):
            assert method in method_names(PROTOCOLS[claim.protocol])
            assert select(PROTOCOLS.values(), [f"{claim.protocol}:{method}"])


DOCUMENT = yaml.safe_load((published.folder() / "mnist1d.yaml").read_text())


def spoiled(change: str) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    claim = document["claims"][0]
    if change == "unknown field":
        claim["margin"] = 3.0
    elif change == "unknown rule":
        claim["checks"][0]["rule"] = "looks-right"
    elif change == "twice":
        document["claims"].append(claim)
    elif change == "source":
        claim["read_from"] = "notebok"
    elif change == "text":
        document["claims"][2]["checks"][0]["published"]["sd"] = "1.4"
    elif change == "two forms":
        document["claims"][2]["checks"][0]["published"]["mean"] = 75.0
    elif change == "span":
        claim["checks"][0]["higher"]["levels"] = {"first": 92, "last": 50}
    elif change == "lengths":
        claim["checks"][0]["lower"] = {"method": "random", "levels": [50, 51]}
    return document


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("unknown field", "margin"),
        ("unknown rule", "looks-right"),
        ("twice", "stands twice"),
        ("source", "Did you mean 'notebook'"),
        ("text", "sd"),
        ("two forms", "either values or mean"),
        ("span", "below first"),
        ("lengths", "different numbers of levels"),
    ],
)
def test_bad_files_are_refused_with_the_place(change: str, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        published.parse(spoiled(change), "mine.yaml")
    assert says in str(caught.value)
    assert "mine.yaml" in str(caught.value)


def test_unknown_papers_and_tables_are_named() -> None:
    with pytest.raises(BadInput, match="Did you mean 'mnist1d'"):
        published.load("mnist1")
    with pytest.raises(BadInput, match=r"none\.csv"):
        published.table("none.csv")


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n")
    with pytest.raises(BadInput, match=r"list\.yaml"):
        published.load_file(path)
