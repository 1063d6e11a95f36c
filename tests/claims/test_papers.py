"""Claims against the protocols that decide them, and the rules that other settings than LeNet's asked for."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import yaml
from builders import Outcome, record, records_of, standing
from claim_rules import ACCURACY, CURVE, DENSE, IMP, rule
from click.testing import CliRunner
from judging import paper_of

from benchmark import protocols
from benchmark.claims import papers as published
from benchmark.claims.check import check_fits
from benchmark.claims.observations import Observations
from benchmark.claims.rules.value import Curve
from benchmark.claims.table_reader import tables_folder
from benchmark.claims.verdicts import Decision, decide_paper
from benchmark.cli.main import cli
from benchmark.planning.power import claim_needs
from benchmark.planning.priority import cells_needed, wanted, wanted_methods
from benchmark.protocols.cells import Cell, cells_of
from benchmark.records.store import Store
from benchmark.report.board.claims_pages import claims_page, silent
from benchmark.utils.errors import BadInput

CONV2, DROPOUT = protocols.load("lth/conv2-cifar10"), protocols.load("lth/conv2-dropout-cifar10")

BETWEEN = {"rule": "between", "metric": ACCURACY, "higher": DENSE, "lower": DENSE, "protocol": CONV2.id,
           "published": 2.1, "bound": "equal"}  # fmt: skip

NOISE = (0.05, -0.08, 0.02, 0.1, -0.06)  # of seeds, in points


# Claims fit their protocols


def on(protocol: str, **fields: Any) -> published.Published:
    return paper_of(
        [{"rule": "ordering", "metric": ACCURACY, "higher": IMP, "lower": DENSE, **fields}], protocol=protocol
    )


LENET, MASKS = "lth/lenet-mnist", "synflow/vgg16-cifar100-masks"


@pytest.mark.parametrize(
    ("paper", "says"),
    [
        (on("lth/lenet-mnits"), ["no protocol 'lth/lenet-mnits'", "Did you mean 'lth/lenet-mnist'"]),
        (on(LENET, higher={"method": "ipm", "levels": [7]}), ["has no method 'ipm'", "Did you mean 'imp'"]),
        (on(LENET, higher={"method": "imp", "levels": [22]}), ["does not measure imp at level 22"]),
        (on(LENET, higher={"method": "imp", "levels": [20]}), ["imp at level 20 only after all else"]),
        (on(LENET, lower={"method": "imp+shuffle", "levels": [8]}), ["does not measure imp+shuffle at level 8"]),
        (on("lth/conv2-cifar10", higher={"method": "random", "levels": [3]}), ["lth/conv2-cifar10 has no method"]),
        (on("grasp/vgg19-cifar10", higher={"method": "snip", "levels": [1]}), ["no early stopping"]),
        (on(MASKS, higher={"method": "snip", "levels": [1]}), ["trains nothing, so it has no early-stop-accuracy"]),
        (paper_of([BETWEEN | {"protocol": "lth/conv3-cifar10"}]), ["no protocol 'lth/conv3-cifar10'", "Did you mean"]),
        (paper_of([BETWEEN | {"lower": {"method": "ipm", "levels": [7]}}]), ["lth/conv2-cifar10 has no method 'ipm'"]),
        (
            paper_of([{"rule": "layer-share", "layers": ["fc1", "fc4"], "published": 99}]),
            ["has no layer 'fc4'", "Did you mean 'fc"],
        ),
        (
            paper_of([{"rule": "emptied", "of": IMP, "expected": "empty"}]),
            ["lth/lenet-mnist trains networks, so it has no empty-layers"],
        ),
        (
            paper_of([{"rule": "curve", "metric": "last-accuracy", "of": IMP, "table": "t", "setting": "s",
                       "published": ["imp"], "spread": "own"}]),
            ["compares runs of lth's protocol with a table of x"],
        ),
    ],
)  # fmt: skip
def test_a_claim_that_does_not_fit_its_protocol_is_refused(paper: published.Published, says: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        check_fits(paper, "x.yaml")
    assert all(word in str(caught.value) for word in ["x.yaml: x-1", *says]), str(caught.value)


def test_a_claim_on_another_version_is_refused() -> None:
    paper = on(LENET)
    check_fits(paper, "x.yaml")
    older = paper.model_copy(update={"claims": (paper.claims[0].model_copy(update={"version": 1}),)})
    with pytest.raises(BadInput, match=r"written for lth/lenet-mnist@1, and the protocol is now lth/lenet-mnist@2"):
        check_fits(older, "x.yaml")


def test_a_typing_error_in_a_packaged_file_fails_when_it_is_read(tmp_path: Path) -> None:
    text = (published.folder() / "snip.yaml").read_text()
    shutil.copytree(tables_folder() / "snip", tmp_path / "tables" / "snip")
    shutil.copy(tables_folder() / "snip.yaml", tmp_path / "tables")
    path = tmp_path / "papers" / "snip.yaml"
    path.parent.mkdir()
    path.write_text(text)
    assert published.load_file(path).claims
    for old, new in (
        ("levels: [2]}", "levels: [4]}"),
        ("method: snip,", "method: snib,"),
        ("mean: 98.4,", "mean: 98.5,"),
    ):
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(BadInput, match="snip-"):
            published.load_file(path)


@pytest.mark.parametrize(
    ("part_of", "divided", "says"),
    [("x-8", ["x-9"], "'x-8' is no divided statement"), (None, ["x-9"], "no claim is part_of"),
     ("x-9", ["x-9", "x-1"], "'x-1' stands twice")],
)  # fmt: skip
def test_divided_statements_have_parts_and_parts_have_statements(
    part_of: str | None, divided: list[str], says: str
) -> None:
    paper = on(LENET)
    claim = {**paper.claims[0].model_dump(mode="json", exclude_none=True), "part_of": part_of}
    document = yaml.safe_load(json.dumps(paper.model_dump(mode="json", by_alias=True, exclude_none=True)))
    document |= {"claims": [claim], "divided": [{"id": d, "statement": "s", "source": "here"} for d in divided]}
    with pytest.raises(BadInput, match=says):
        published.parse(document, "x.yaml")


def test_parts_are_counted_as_the_statement_that_they_are_parts_of() -> None:
    lth = published.load("lth")
    parts = [claim.id for claim in lth.claims if claim.part_of == "lth-21"]
    assert parts == ["lth-21-conv2", "lth-21-conv4", "lth-21-conv6"]
    whole = [s.id for s in lth.whole_statements]
    assert "lth-21" in whole
    assert not set(parts) & set(whole)


# Between two protocols, not paired


def between(gap: float, seeds: Sequence[int] = range(5), change: Mapping[str, Any] | None = None) -> Decision:
    """Dense networks with dropout lie `gap` above those without, whose seeds are others."""

    def world(accuracy: float, noise: Sequence[float], used: Sequence[int]) -> Callable[[Cell], Outcome | None]:
        return lambda cell: Outcome(accuracy + noise[cell.seed], 5000) if cell.seed in used else None

    seen = {
        CONV2.id: Observations(CONV2, records_of(CONV2, world(65.0, NOISE[::-1], range(1, 5)), ["dense"])),
        DROPOUT.id: Observations(DROPOUT, records_of(DROPOUT, world(65.0 + gap, NOISE, seeds), ["dense"])),
    }
    (decision,) = decide_paper(paper_of([BETWEEN | (change or {})], protocol=DROPOUT.id), seen)
    return decision


@pytest.mark.parametrize(
    ("gap", "verdict"),
    [(2.1, "reproduced"), (2.4, "reproduced"), (2.62, "inconclusive"), (3.2, "deviates"), (0.0, "deviates")],
)
def test_a_difference_between_protocols_is_decided(gap: float, verdict: str) -> None:
    assert between(gap).verdict == verdict


def test_a_difference_between_protocols_by_hand() -> None:
    """Welch: variances of five and of four seeds, each over its own number of seeds."""
    (check,) = between(2.1).checks
    ours, theirs = NOISE, NOISE[::-1][1:]
    expected = 2.1 + fmean(ours) - fmean(theirs)
    assert check.estimate == pytest.approx(expected)
    from scipy import stats

    interval = stats.ttest_ind([2.1 + x for x in ours], theirs, equal_var=False).confidence_interval(0.95)
    assert (check.low, check.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_each_side_of_a_difference_between_protocols_is_at_its_own_density() -> None:
    """Level 9 of ten rounds leaves 0.9 %, level 3 of the densities listed in the other protocol 1 %."""
    (claim,) = (c for c in published.load("plantnseek").claims if c.id == "plantnseek-multishot-lower")
    words = claim.checks[0].statement(protocols.load(claim.protocol))
    assert "magnitude at 0.9 % minus magnitude at 1.0 % of plantnseek/planted-circle" in words


def test_both_sides_of_a_difference_between_protocols_are_needed() -> None:
    assert between(2.1, seeds=()).verdict == "not measured"
    assert between(2.1, seeds=(0,)).verdict == "inconclusive"
    at_least = {"bound": "at-least", "published": 0.0}
    assert [between(gap, change=at_least).verdict for gap in (3.0, -0.3, -2.0)] == [
        "reproduced",
        "reproduced",
        "deviates",
    ]
    below = {"bound": "below", "published": 0.0}  # no margin: a tie is no "less"
    assert [between(gap, change=below).verdict for gap in (-2.0, 0.1, 2.0)] == [
        "reproduced",
        "inconclusive",
        "deviates",
    ]
    decision = between(2.1)
    assert decision.command == f"lotterybench run {DROPOUT.id}:dense {CONV2.id}:dense"
    assert decision.runs_missing == 1  # seed 0 of the network without dropout


def test_a_claim_on_two_protocols_waits_for_both_and_asks_for_cells_of_both(tmp_path: Path) -> None:
    store, name = Store(tmp_path), "lth-24-conv2"
    (claim,) = (c for c in published.load("lth").claims if c.id == name)
    assert claim.cells == {DROPOUT.id: (("dense", 0),), CONV2.id: (("dense", 0),)}
    assert name not in {need.claim for need in claim_needs(store, [DROPOUT])}
    (need,) = (need for need in claim_needs(store, [CONV2, DROPOUT]) if need.claim == name)
    assert (need.methods, need.elsewhere) == (("dense",), ((CONV2.id, "dense"),))
    asking = [status for status in standing(store, [CONV2, DROPOUT]) if status.claim == name]
    assert wanted_methods(asking, [CONV2, DROPOUT]) == {DROPOUT.id: {"dense": 2}, CONV2.id: {"dense": 2}}
    asked = wanted(standing(store, [CONV2, DROPOUT]), [CONV2, DROPOUT], name)
    assert {key for key, _ in asked.tiers} == {CONV2.key, DROPOUT.key}
    assert len(asked.tiers) == 10
    with pytest.raises(BadInput, match="no claim, paper or method"):
        wanted(standing(store, [DROPOUT]), [DROPOUT], name)


def test_a_purpose_may_be_a_statement_in_parts(tmp_path: Path) -> None:
    known = [protocols.load(f"lth/conv{n}-cifar10") for n in (2, 4, 6)]
    asked = wanted(standing(Store(tmp_path), known), known, "lth-21")
    assert {key for key, _ in asked.tiers} == {protocol.key for protocol in known}


# Counted from the protocol alone


@pytest.mark.parametrize(
    ("published_share", "digit", "verdict"),
    [(99, 1, "reproduced"), (99.1, 0.1, "reproduced"), (98, 1, "deviates"), (99.0, 0.1, "deviates")],
)
def test_a_share_of_the_weights_is_decided_without_any_run(published_share: float, digit: float, verdict: str) -> None:
    """Conv-2's linear layers: (16 * 16 * 64 * 256 + 256 * 256 + 256 * 10) of 4,300,992 weights, 99.10 %."""
    layers = ["head.fc1", "head.fc2", "head.fc3"]
    asked = {"rule": "layer-share", "layers": layers, "published": published_share, "digit": digit}
    paper = paper_of([asked], protocol=CONV2.id)
    (decision,) = decide_paper(paper, {CONV2.id: Observations(CONV2, [])})
    assert decision.checks[0].estimate == pytest.approx(100 * (4_194_304 + 65_536 + 2_560) / 4_300_992)
    assert (decision.verdict, decision.provisional, decision.seeds) == (verdict, False, "none needed")
    assert decision.command == f"lotterybench info {CONV2.id}"
    assert "share: 99.1 % (needs" in claims_page(paper, [decision], {CONV2.id: Observations(CONV2, [])})
    assert cells_needed(paper.claims[0], CONV2) == []


def test_lths_own_percentages_ask_for_other_shares_of_conv_6_than_it_states() -> None:
    """26.4, 15.1 and 10.5 % after 7, 10, 12 rounds of 20 and 15 %; 11.9 and 9.31 % after 15, 17 of 20 and 10 %."""

    def share(percent: float, rounds: int, kept: float) -> float:
        return (percent / 100 - kept**rounds) / (0.8**rounds - kept**rounds)

    found = [
        share(26.4, 7, 0.85),
        share(15.1, 10, 0.85),
        share(10.5, 12, 0.85),
        share(11.9, 15, 0.9),
        share(9.31, 17, 0.9),
    ]
    assert found == pytest.approx([0.51] * 5, abs=0.01)
    (claim,) = (c for c in published.load("lth").claims if c.id == "lth-26-conv6")
    (decision,) = decide_paper(
        published.load("lth").model_copy(update={"claims": (claim,), "divided": ()}),
        {claim.protocol: Observations(protocols.load(claim.protocol), [])},
    )
    assert (decision.verdict, decision.checks[0].measured) == ("contradicted", "share: 49.4 %")


# What is stated against the data that it is stated of


def test_rendas_orders_are_those_of_the_plot_data() -> None:
    """Means of the CSV file, read here anew, for every method of every ordering."""
    mean: dict[tuple[str, ...], float] = {}
    with (published.folder().parent / "tables/renda2020/unstructured-cifar10.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            key = (row["network"], row["is_iterative"], row["retrain_method"], row["retrain_time"])
            mean[(*key, f"{float(row['density']):.3f}")] = 100 * float(row["test_mean"])
    names = {"fine-tune": "finetune", "weight-rewind": "lottery", "lr-rewind": "lr_finetune"}

    def curve(network: str, points: Any) -> float:
        iterative = points.method.startswith("iterative-")
        stem, _, epochs = points.method.removeprefix("iterative-").rpartition("-")
        method, epochs = ("lottery", "182") if points.method == "one-shot" else (names[stem], epochs)
        levels = [level for _, level in points.cells]
        return fmean(mean[network, str(iterative), method, f"{epochs}.0", f"{0.8**level:.3f}"] for level in levels)

    claims = published.load("renda2020").claims
    assert len(claims) == 8
    for claim in claims:
        network = claim.protocol.split("/")[1].split("-")[0]
        for check in claim.checks:
            assert check.rule in ("ordering", "difference")  # never an accuracy of its own: the recipe is chosen
            gap = curve(network, check.higher) - curve(network, check.lower)  # type: ignore[union-attr]
            assert gap > (0 if check.rule == "ordering" else -0.5), claim.id


def test_grasps_statements_hold_in_its_tables() -> None:
    rows = [row for table in ("table-2", "table-3") for row in published.results("grasp", table)]
    mean = {(row.setting, row.method, round(row.density or 0, 3)): row.mean for row in rows}
    names, found = {"snip": "SNIP", "grasp": "GraSP"}, 0
    for claim in (c for c in published.load("grasp").claims if c.part_of):
        levels = protocols.load(claim.protocol).level_table
        for check in claim.checks:
            (high, low) = (
                mean[str(claim.setting), names[p.method], round(levels[p.cells[0][1]].density, 3)]
                for p in (check.higher, check.lower)  # type: ignore[union-attr]
            )
            stated = getattr(check, "published", 0.0) if getattr(check, "bound", "") == "equal" else 0.0
            assert high - low == pytest.approx(stated) if stated else high > low
            found += 1
    assert found == 5 + 2 + 4


# The board and the terminal with hundreds of claims


def test_what_is_not_measured_stands_folded_and_whole() -> None:
    paper, seen = published.load("snip"), {}
    for name in ("snip/lenet-300-100-mnist", "snip/lenet-5-caffe-mnist"):
        protocol = protocols.load(name)
        cells = [c for c in cells_of(protocol, "dense") if name.endswith("100-mnist")]
        seen[name] = Observations(
            protocol, [record(protocol, c, Outcome(98.3 + NOISE[c.seed % 5], 500)) for c in cells]
        )
    shown, last = claims_page(paper, decide_paper(paper, seen), seen).split("## Nothing measured yet (4)")
    assert '<a id="snip-table-1-lenet-300-100"></a>' in shown  # its dense network is measured
    assert shown.count("</a>snip-") == 1
    waiting = {claim.id for claim in paper.claims if claim.protocol in seen} - {"snip-table-1-lenet-300-100"}
    assert all(f'<a id="{name}"></a>{name}: not measured\n' in last for name in waiting)


def test_papers_that_no_rule_decides_are_listed_with_reasons() -> None:
    papers = published.load_all()
    quiet = [p for p in papers if silent(p)]
    assert {"readme-misc", "abstract-only"} <= {p.paper.key for p in quiet}
    assert all(entry.reason in claims_page(paper, [], {}) for paper in quiet for entry in paper.not_decided)
    assert not any(silent(p) for p in papers if p.claims)


def test_the_terminal_counts_what_is_not_measured(tmp_path: Path) -> None:
    runner = CliRunner()
    arguments = ["--results", str(tmp_path)]
    every = sum(len(paper.claims) for paper in published.load_all())
    short = runner.invoke(cli, ["score", *arguments]).output
    assert f"{every - 3} not measured" in " ".join(short.split())  # all but three counts
    assert "lth-26-conv6" in short
    assert "lth-21-conv2" not in short
    assert "lth-21-conv2" in runner.invoke(cli, ["score", "--all", *arguments]).output
    power = runner.invoke(cli, ["power", *arguments]).output
    assert f"{every - 3 - 20} more claims need more than these" in power


def test_needed_cells_stay_those_of_the_claims_own_protocol() -> None:
    assert rule(**BETWEEN | {"higher": IMP, "lower": {"method": "imp", "levels": [3]}}).needed_cells == (("imp", 7),)
    assert rule(rule="layer-share", layers=["fc1"], published=1).needed_cells == ()
    assert isinstance(rule(**CURVE, of=IMP, published=["imp"]), Curve)
