"""Protocols that measure analyses: what they may say, what is trained for them, recorded, checked and judged."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import in_process
from made_once import made_once, run_all
from record_documents import text_of
from toy_analysis import analysing, of_masks, written

from benchmark.claims.observations import Observations
from benchmark.claims.rules.base import Rule
from benchmark.claims.rules.bound import Bound
from benchmark.claims.rules.compare import Difference, Ordering, Ratio
from benchmark.claims.rules.value import Value
from benchmark.harness.harness import Harness, Settings
from benchmark.planning.plan import expected_seconds, jobs
from benchmark.protocols import Protocol, load_all, parse
from benchmark.protocols.cells import DENSE, Cell, cells_of, method_names
from benchmark.records.schema import Record
from benchmark.records.schema import parse as parse_record
from benchmark.records.store import Store
from benchmark.report.board.protocol_pages import protocol_page
from benchmark.report.html.pages import pages
from benchmark.sharing.integrity import contradictions
from benchmark.sharing.remeasure import compare_means
from benchmark.utils.errors import BadInput
from benchmark.utils.npz import unpack_bytes

TOY = {"analysis": "toy", "levels": [0]}


@pytest.fixture(scope="module")
def protocol(tiny_protocol: Protocol) -> Protocol:
    return parse(analysing(tiny_protocol), "analysis.yaml")


@pytest.fixture(scope="module")
def measured(protocol: Protocol, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Every cell of the protocol that trains."""
    return Store(made_once(tmp_path_factory, "analysed", lambda root: run_all(protocol, root)))


def record_of(store: Store, protocol: Protocol, cell: Cell) -> Record:
    record = store.read(protocol, cell)
    assert record is not None
    return record


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"measures": "trained-networks"}, "methods.toy: an analysis needs measures: analysis"),
        ({"methods": {}}, "needs a method with analysis: NAME"),
        ({"methods": {"a": {**TOY, "analysis": "toyy"}}}, r"no analysis 'toyy'. Did you mean 'toy'"),
        ({"methods": {"a": {**TOY, "of": "imp"}}}, "of: 'imp' is not a pruning method"),
        ({"methods": {"a": {**TOY, "levels": [5]}}}, "level 5 is outside 0..4"),
        ({"methods": {"a": {**TOY, "levls": [0]}}}, "methods.a.levls: Extra inputs"),
        ({"recipe": None}, "recipe"),
        ({"evaluation": None}, "evaluation: "),
        ({"dense_seeds": [8, 9]}, "dense_seeds: measures: analysis"),
        ({"data": {"name": "none", "scaling": "as-generated", "validation": 0, "split": "none"}}, "no test set"),
    ],
)
def test_what_does_not_fit_is_refused(tiny_protocol: Protocol, change: dict[str, Any], says: str) -> None:
    document = {key: value for key, value in analysing(tiny_protocol, **change).items() if value is not None}
    with pytest.raises(BadInput, match=says):
        parse(document, "analysis.yaml")


def test_the_masks_that_an_analysis_is_of_must_be_there(tiny_protocol: Protocol) -> None:
    document = analysing(tiny_protocol)
    document["methods"]["toy-imp"]["levels"] = [1, 2, 3, 4]
    parse(document, "analysis.yaml")
    document["methods"]["toy-imp"]["of"] = "random"
    with pytest.raises(BadInput, match="level 1 is not measured by random"):
        parse(document, "analysis.yaml")


def test_other_protocols_examine_themselves() -> None:
    for protocol in load_all():
        if protocol.measures != "analysis":
            assert "analysed" not in protocol.document["statistics"]["margins"]
            assert protocol.examined is protocol


def test_only_analyses_make_records(protocol: Protocol, measured: Store) -> None:
    assert method_names(protocol) == ["toy", "toy-imp"]
    cells = [cell for name in method_names(protocol) for cell in cells_of(protocol, name)]
    assert len(cells) == 2 * (1 + 3)
    records = measured.records(protocol)
    assert len(records) == len(cells)
    assert all(record.status == "finished" for record in records)
    assert {path.name for path in measured.root.iterdir()} == {".work", "tests"}


def test_a_record_holds_numbers_with_units_and_what_they_cost(protocol: Protocol, measured: Store) -> None:
    kept = protocol.level_table[3].kept
    record = record_of(measured, protocol, Cell("toy-imp", 3, 1))
    assert record.analysed is not None
    assert record.cost is not None
    assert record.method.analysis is not None
    assert (record.analysed["weights"].value, record.analysed["weights"].unit) == (kept, "count")
    assert record.analysed["moved"].value > 0
    assert (record.method.analysis.name, record.method.analysis.of) == ("toy", "imp")
    assert record.cost.train_steps == 40  # its own two trainings
    assert record.cost.mask_train_steps == 20 * 4  # dense and three levels
    assert record.cost.train_examples > 0
    curves = measured.curves_path(protocol, Cell("toy-imp", 3, 1)).read_bytes()
    assert np.array_equal(unpack_bytes(curves, 10**6)["line"], np.arange(3.0))
    assert not list(contradictions(protocol, record, curves=curves))
    again = parse_record(record.dumps(), "record.json")
    assert again == record
    document = json.loads(record.dumps())
    document["analysed"]["weights"]["value"] += 1
    assert parse_record(text_of(document), "other.json").fingerprint() != record.fingerprint()
    document = json.loads(record.dumps())
    document["cost"]["train_seconds"] += 1
    assert parse_record(text_of(document), "other.json").fingerprint() == record.fingerprint()


def test_level_0_is_the_analysis_s_own(protocol: Protocol, measured: Store) -> None:
    """Two analyses of the dense network are two records; a generator is of the seed, whatever the analysis."""
    whole = sum(protocol.pruning.tensor_sizes.values())
    one, other = (record_of(measured, protocol, Cell(name, 0, 0)).analysed for name in ("toy", "toy-imp"))
    assert one is not None
    assert other is not None
    # Glorot draws have no exact zeros.
    assert (one["weights"].value, other["weights"].value) == (2.0 * whole, whole)
    assert one["drawn"] == other["drawn"]
    assert one["moved"] == other["moved"]


def test_networks_are_trained_once_and_kept(protocol: Protocol, measured: Store) -> None:
    examined = protocol.examined
    scratch = Store(measured.work / "networks")
    made = {(r.method.name, r.cell.level, r.cell.seed) for r in scratch.records(examined)}
    assert made == {(DENSE, 0, 0), (DENSE, 0, 1)} | {("imp", lv, s) for lv in (1, 2, 3) for s in (0, 1)}
    kept = {level: scratch.weights_path(examined, Cell("imp", level, 0), "final").exists() for level in (1, 2, 3)}
    assert kept == {1: True, 2: False, 3: True}


def test_a_run_again_has_the_same_fingerprint(protocol: Protocol, measured: Store, tmp_path: Path) -> None:
    """From nothing, one cell alone: what it was measured beside does not matter."""
    cell, store = Cell("toy-imp", 1, 0), Store(tmp_path)
    harness = Harness(protocol, store, Settings(data_root=tmp_path))
    (job,) = [job for job in jobs(protocol, ["toy-imp"], store) if cell in job.cells]
    assert harness.run(job)
    assert record_of(store, protocol, cell).fingerprint() == record_of(measured, protocol, cell).fingerprint()


@pytest.mark.parametrize("spoilt", ["analysis", "numbers", "margin"])
def test_forgeries_are_found(protocol: Protocol, measured: Store, spoilt: str) -> None:
    document = json.loads(record_of(measured, protocol, Cell("toy-imp", 1, 0)).dumps())
    if spoilt == "analysis":
        document["method"]["analysis"]["of"] = "random"
    elif spoilt == "numbers":
        document["analysed"] = {}
    else:
        del document["analysed"]["moved"]
    assert list(contradictions(protocol, parse_record(json.dumps(document, indent=1) + "\n", "record.json")))


def test_numbers_that_are_not_finite_make_a_failed_record(tiny_protocol: Protocol, tmp_path: Path) -> None:
    document = analysing(tiny_protocol, seeds=[0])
    document["methods"] = {"toy": {**TOY, "parameters": {"lost": True}}}
    lost = parse(document, "analysis.yaml")
    run_all(lost, tmp_path)
    (record,) = Store(tmp_path).records(lost)
    assert (record.status, record.reason, record.analysed) == ("failed", "diverged: drawn not finite", None)
    assert not list(contradictions(lost, record))


@pytest.mark.parametrize(
    ("parameters", "says"),
    [({"factr": 1.0}, "factr.*It takes"), ({"factor": -1.0}, "factor must be above 0")],
)
def test_parameters_are_the_analysis_s(tiny_protocol: Protocol, parameters: Any, says: str, tmp_path: Path) -> None:
    document = analysing(tiny_protocol)
    document["methods"]["toy"]["parameters"] = parameters
    with pytest.raises(BadInput, match=says):
        run_all(parse(document, "analysis.yaml"), tmp_path, ["toy"])


def seen_of(protocol: Protocol, store: Store) -> Observations:
    return Observations(protocol, store.records(protocol))


def of_weights(kind: type[Rule], **fields: Any) -> Rule:
    name = kind.__name__.lower()
    return kind.model_validate_json(json.dumps({"rule": name, "metric": "analysed/weights", **fields}))


def test_claims_on_numbers(protocol: Protocol, measured: Store) -> None:
    """Every rule against numbers that are known: 2 * 352 weights, and the level's own count."""
    seen, kept = seen_of(protocol, measured), protocol.level_table[1].kept
    double, level = {"method": "toy", "levels": [0]}, {"method": "toy-imp", "levels": [1]}
    sides = {"higher": double, "lower": level}
    gap = 2 * protocol.level_table[0].kept - kept
    rules = [
        of_weights(Value, of=level, published={"mean": kept + 1}),
        of_weights(Difference, **sides, published=gap, bound="equal"),
        of_weights(Ordering, **sides),
        of_weights(Ratio, numerator=double, denominator={"method": "toy-imp", "levels": [0]}, published=2.0),
    ]
    for rule in rules:
        assert not list(rule.misfits(protocol)), rule.rule
        evidence = rule.evaluate(seen)
        assert evidence.seeds == (0, 1)
        assert evidence.verdict(0.05, evidence.p_reproduced, evidence.p_deviates) == "reproduced", rule.rule
        assert rule.statement(protocol)
    assert "count" in rules[0].measured_text(rules[0].evaluate(seen), protocol)
    assert rules[1].points[0].cells == (("toy", 0),)
    assert rules[0].margin(protocol) == 3.0
    wrong = of_weights(Value, of=level, published={"mean": kept + 50.0})
    evidence = wrong.evaluate(seen)
    assert evidence.verdict(0.05, evidence.p_reproduced, evidence.p_deviates) == "deviates"


def test_a_claim_needs_a_margin_and_an_analysis_protocol(protocol: Protocol, tiny_protocol: Protocol) -> None:
    def misfits(metric: str, of: Protocol) -> list[str]:
        rule = {"rule": "ordering", "metric": metric, "higher": {"method": "toy"}, "lower": {"method": "toy-imp"}}
        return list(Ordering.model_validate_json(json.dumps(rule)).misfits(of))

    assert "no margin for drawn, only for weights, moved" in misfits("analysed/drawn", protocol)[0]
    assert "measures trained-networks" in misfits("analysed/moved", tiny_protocol)[0]
    assert "measures analysis, so it has no last-accuracy" in misfits("last-accuracy", protocol)[0]


def test_pages_show_numbers_with_their_unit(protocol: Protocol, measured: Store) -> None:
    page = protocol_page(seen_of(protocol, measured), [])
    assert "weights, count:" in page
    assert "moved, norm:" in page
    assert "analysis 'toy' of imp" in page
    assert "8 of 8 runs measured" in page


def test_the_report_shows_them_too(protocol: Protocol, measured: Store) -> None:
    made = pages(measured, {protocol.id: seen_of(protocol, measured)}, [])
    page = made["protocols/tests--analysis.html"]
    assert "<caption>moved, norm</caption>" in page
    assert "Moved against density" in page
    assert "toy-imp" in made["index.html"]


def test_records_made_again_are_compared_by_margins(protocol: Protocol, measured: Store) -> None:
    same = compare_means(protocol, measured, measured)
    assert (same.cells, same.identical, same.mean_difference) == (8, 8, 0.0)


def test_what_cells_should_take_is_learned_from_records(protocol: Protocol, measured: Store) -> None:
    records = [copy.deepcopy(record) for record in measured.records(protocol)]
    cells = cells_of(protocol, "toy-imp")
    costs = [r.cost for r in records if r.cost and r.method.name == "toy-imp"]
    taken = sorted(min(cost.train_seconds, cost.train_cpu_seconds) for cost in costs)
    assert taken[0] > 0, "each record says what it had of a core"
    assert expected_seconds(protocol, records)(cells[:1]) == pytest.approx((taken[2] + taken[3]) / 2)
    assert expected_seconds(protocol, [])(cells) > 0


def test_by_the_command_line(tiny_protocol: Protocol, tmp_path: Path) -> None:
    """Plan, run, status and fsck of a protocol that trains nothing; nothing is drawn from data that is not there."""
    path, results = written(of_masks(tiny_protocol), tmp_path), str(tmp_path / "results")
    planned = in_process("plan", str(path), "--results", results)
    assert planned.returncode == 0, planned.stderr
    dry = in_process("run", str(path), "--dry-steps", "2")
    assert dry.returncode == 0, dry.stderr
    assert "2 numbers found" in dry.stdout
    ran = in_process("run", str(path), "--results", results, "--executor", "in-process")
    assert ran.returncode == 0, ran.stderr
    assert "count" in next(line for line in ran.stdout.splitlines() if "toy-magnitude at" in line)
    protocol = parse(of_masks(tiny_protocol), "masks.yaml")
    records = Store(tmp_path / "results").records(protocol)
    levels = {protocol.level_table[level].kept for level in (1, 4)}
    assert {record.analysed["weights"].value for record in records if record.analysed} == levels
    assert all(record.cost and record.cost.train_steps == record.cost.mask_train_steps == 0 for record in records)
    shown = in_process("info", str(path))
    assert "measures: analysis" in shown.stdout, shown.stderr
    status = in_process("status", str(path), "--results", results)
    assert status.returncode == 0, status.stderr


def test_what_an_analysis_refuses_is_one_error(tiny_protocol: Protocol, tmp_path: Path) -> None:
    document = of_masks(tiny_protocol)
    document["methods"]["toy-magnitude"]["analysis"] = "toy-refusing"
    path, results = str(written(document, tmp_path)), str(tmp_path / "results")
    ran = in_process("run", path, "--results", results, "--executor", "in-process")
    assert ran.returncode == 2
    assert "odd size" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_plans_need_no_torch(tiny_protocol: Protocol, tmp_path: Path) -> None:
    document = of_masks(tiny_protocol)
    document["methods"]["toy-magnitude"]["analysis"] = "mode-connectivity"  # of a file, which nobody has imported
    path = written(document, tmp_path)
    text = (
        "import sys; from pathlib import Path; from benchmark.protocols import load;"
        "from benchmark.planning.plan import *;"
        f"p = load({str(path)!r}); print(len(plan([(p, 'toy-magnitude')], Store(Path({str(tmp_path)!r})))));"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "4", done.stderr


def test_bounds_of_a_statement_have_no_margin(protocol: Protocol, measured: Store) -> None:
    """352 weights in level 0's double count: strictly inside, outside, or on neither side of what is asked."""
    seen, whole = seen_of(protocol, measured), protocol.level_table[0].kept
    double = {"method": "toy", "levels": [0]}

    def verdict(**bounds: float) -> str:
        evidence = of_weights(Bound, of=double, **bounds).evaluate(seen)
        return evidence.verdict(0.05, evidence.p_reproduced, evidence.p_deviates)

    assert verdict(below=2 * whole + 1.0) == verdict(above=2 * whole - 1.0) == "reproduced"
    assert verdict(below=2 * whole + 1.0, above=2 * whole - 1.0) == "reproduced"
    assert verdict(below=2 * whole - 1.0) == verdict(above=2 * whole + 1.0) == "deviates"
    rule = of_weights(Bound, of=double, below=900, unit_words="count")
    assert rule.statement(protocol) == "weights of toy of the dense network is below 900 count"
    assert rule.window_text(rule.evaluate(seen).items[0], protocol) == "less than 900 count"
    with pytest.raises(ValueError, match="give below, above or both"):
        of_weights(Bound, of=double)


@pytest.mark.usefixtures("answered_here")
def test_plugins_add_nothing_to_be_analysed(tiny_protocol: Protocol, tmp_path: Path) -> None:
    """A file may stand in for a pruner that the protocol itself names, whose masks are then looked at."""
    plugin = tmp_path / "largest.py"
    plugin.write_text(
        "from benchmark.api import Pruner\n\n\nclass Largest(Pruner):\n    def score(self, network, examples, rng):\n"
        "        return {name: weight.abs() for name, weight in network.weights.items()}\n"
    )
    document, results = of_masks(tiny_protocol, seeds=[0]), str(tmp_path / "results")
    path = str(written(document, tmp_path))
    refused = in_process("run", path, "--plugin", str(plugin), "--results", results)
    assert refused.returncode == 2
    assert "no selected method uses it" in refused.stderr
    document["methods"]["magnitude"]["pruner"] = "largest"
    path = str(written(document, tmp_path))
    ran = in_process("run", path, "--plugin", str(plugin), "--results", results, "--executor", "in-process")
    assert ran.returncode == 0, ran.stderr
    records = Store(Path(results)).records(parse(document, "masks.yaml"))
    kept = {tiny_protocol.level_table[level].kept for level in (1, 4)}
    assert {record.analysed["weights"].value for record in records if record.analysed} == kept
