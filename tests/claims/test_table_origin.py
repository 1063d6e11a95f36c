"""The carried record against the files it was carried from, which are read here with other code.

Those files are not part of the repository: they lie beside it, in ../shared/published, or where LOTTERYBENCH_SHARED
says. Without them these tests are skipped, and say so.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark.claims import papers as published
from benchmark.claims.published import Statement
from benchmark.claims.rules.collapse import Connected, Disconnection
from benchmark.claims.rules.value import Curve, Value
from benchmark.claims.table_reader import tables_folder
from benchmark.claims.tables import Result

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("LOTTERYBENCH_SHARED", ROOT.parent / "shared")) / "published"
pytestmark = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"NOT COMPARED WITH ITS ORIGIN: there is no {SHARED}; set LOTTERYBENCH_SHARED"
)
FILES = {
    "abstract-only": "abstract-only", "bingo": "bingo", "grasp": "grasp-2002.07376", "lmc": "lmc-1912.05671",
    "lth": "lth-1803.03635", "mehta": "mehta-1905.07785", "missing-mark": "missing-the-mark-2009.08576",
    "oes": "oes-2406.05288", "rare-gems": "rare-gems-2202.12002", "readme-misc": "small-readme-numbers",
    "recovery": "recovery-guarantee-iht", "rigl": "rigl-1911.11134", "snfs": "snfs-1907.04840",
    "pensia": "pensia-2006.07990", "snip": "snip-1810.02340", "stabilizing": "stabilizing-1903.01611",
    "synflow": "synflow-2006.05467",
}  # fmt: skip
COPIES = {
    "synflow/fig6_top1.csv": "synflow/fig6_top1.csv",
    "synflow/fig1_vgg16_cifar100_top1.csv": "synflow/fig1_vgg16_cifar100_top1.csv",
    "synflow/fig5a_imp_iterations_top1.csv": "synflow/fig5a_imp_iterations_top1.csv",
    "synflow/vgg16_cifar100_layer_density.csv": "synflow/vgg16_cifar100_layer_density.csv",
    "renda2020/unstructured-cifar10.csv": "renda2020/renda2020_unstructured_cifar10.csv",
    "mnist1d_rounds.csv": "mnist1d/lottery_notebook.csv",
}
SPREADS = ("std", "plus_minus", "standard_error", "standard_error_raw")
EXTRAS = ("criterion", "model", "params", "delta", "minutes", "total_epochs", "at_iteration")
UNITS = {"%": "percent", "pp": "points", "min": "minutes", "deg": "degrees", "L2": "L2", "dB": "dB"}
EVERY_PAPER = pytest.mark.parametrize("key", FILES)
# Pensia's settings are called as the files of their runs name them.
NAMED_ALIKE = pytest.mark.parametrize("key", [key for key in FILES if key != "pensia"])
WITH_ROWS = pytest.mark.parametrize("key", [key for key in FILES if key not in ("synflow", "pensia")])


@cache
def origin(key: str) -> Any:
    with (SHARED / f"{FILES[key]}.yaml").open(encoding="utf-8") as file:
        return yaml.safe_load(file)


@cache
def carried(key: str) -> tuple[Result, ...]:
    record = published.load_record(key)
    return tuple(result for table in record.tables for result in published.results(key, table.name))


def rounded(x: float | None) -> float | None:
    """To three digits, to which the origin rounds densities."""
    return None if x is None else float(f"{x:.3g}")


@WITH_ROWS
def test_every_row_is_carried_with_its_numbers(key: str) -> None:
    there: Counter[tuple[Any, ...]] = Counter()
    for row in origin(key)["results"]:
        spread = next((row[name] for name in SPREADS if row.get(name) is not None), None)
        density = rounded(row["x_remaining"])
        there[row["setting"], row["method"], density, float(row["mean"]), spread, UNITS[row["unit"]]] += 1
        for name in ("delta", "minutes"):
            if name in row:
                unit = "points" if name == "delta" else "minutes"
                there[row["setting"], row["method"], density, row[name], None, unit] += 1
    here = Counter((r.setting, r.method, rounded(r.density), r.mean, r.spread, r.unit) for r in carried(key))
    assert here == there


@WITH_ROWS
def test_counts_places_sources_and_labels_are_carried(key: str) -> None:
    tables = {table.name: table for table in published.load_record(key).tables}
    for row in origin(key)["results"]:
        same = [
            r
            for r in carried(key)
            if (r.setting, r.method, rounded(r.density), r.mean)
            == (row["setting"], row["method"], rounded(row["x_remaining"]), row["mean"])
            and ("error" in r.quantity) == ("error" in row["metric"])
        ]
        wanted = {str(row[name]) for name in EXTRAS if name in row}
        beside = [
            s
            for r in same
            for s in carried(key)
            if (s.table, s.setting, s.method, s.x) == (r.table, r.setting, r.method, r.x)
        ]
        found = {text for r in same for _, text in r.labels} | {f"{s.mean:g}" for s in beside}
        assert all(text in found or f"{float(text):g}" in found for text in wanted), row
        assert any(tables[r.table].read_from == row["read_from"] for r in same)
        place = row["source_location"].split(",")[0].removesuffix(" caption").removesuffix(" text").split()[0]
        assert any(place in tables[r.table].source for r in same)
        assert any(r.n == row.get("n", r.n) for r in same)
        quoted = row.get("is_quoted_from_other_paper")
        assert quoted is None or any((r.status == "quoted") == quoted for r in same)


def test_every_run_of_synflow_is_carried() -> None:
    methods = {
        "Random": "random",
        "Magnitude at init": "magnitude",
        "SNIP": "snip",
        "GraSP": "grasp",
        "SynFlow": "synflow",
    }
    here = {(r.setting, r.method, r.x, r.column): r for r in carried("synflow") if r.values and r.unit == "percent"}
    compared = 0
    for row in origin("synflow")["results"]:
        x = float(row["x_paper"].removeprefix("compression 10^"))
        if row["setting"].startswith("fig5a"):
            cycles = re.search(r"(\d) cycle", row["method"])
            assert cycles is not None
            labels = (("epochs", "50"), ("iterations", cycles.group(1)))
            found = {
                r.column: r.mean for r in carried("synflow") if (r.table, r.x, r.labels) == ("figure-5a", x, labels)
            }
            assert found == {"top1_best_epoch": row["mean"], "top1_last_epoch": row["final_epoch_mean"]}
            continue
        best = here[row["setting"], methods.get(row["method"], row["method"]), x, "top1_best_epoch"]
        assert list(best.values) == row["values"]
        compared += len(row["values"]) if "std" in row else 0
        assert best.mean == pytest.approx(row["mean"], abs=0.0051)
        assert (min(best.values), max(best.values)) == (row["min"], row["max"])
        assert best.spread == pytest.approx(row.get("std", best.spread), abs=0.0051)
        assert best.density == pytest.approx(row["x_remaining"], rel=2e-3)
        if "final_epoch_values" in row:
            last = here[best.setting, best.method, x, "top1_last_epoch"]
            assert list(last.values) == row["final_epoch_values"]
            assert last.mean == pytest.approx(row["final_epoch_mean"], abs=0.0051)
    assert compared == 2340


def test_every_run_of_pensia_is_carried() -> None:
    """1,009 runs, each with its accuracy after the last epoch and its largest; of dense ones nothing is pruned."""
    with (SHARED / "data/pensia_mnist_widefc2.csv").open(newline="") as file:
        there = Counter(
            (row["arch"], row["pruned_share"] or None, row["epochs"], row["relu_inside"], float(row[name]), name)
            for row in csv.DictReader(file)
            for name in ("test_acc_last", "test_acc_max")
        )
    here = Counter(
        (r.setting, r.x if r.x is None else str(r.x), own["epochs"], own.get("relu_inside", "0"), r.mean, r.column)
        for r in carried("pensia")
        for own in [dict(r.labels)]
    )
    assert here == there
    assert sum(here.values()) == 2 * 1009


def test_every_run_of_set_is_carried() -> None:
    """The last and the largest of 400 accuracies, for five runs of three arms."""
    with (SHARED / "data/set_fmnist2000_test_acc.csv").open(newline="") as file:
        epochs = list(csv.DictReader(file))
    assert len(epochs) == 400
    here = {(r.method, r.column): list(r.values) for r in carried("set") if r.setting == "fmnist2k"}
    for method, arm in {"dense": "fc", "static": "fixprob", "SET": "set"}.items():
        curves = [[float(epoch[f"{arm}_seed{run}"]) for epoch in epochs] for run in range(5)]
        assert here[method, "test_acc_last"] == [curve[-1] for curve in curves]
        assert here[method, "test_acc_best"] == [max(curve) for curve in curves]


@pytest.mark.parametrize(("here", "there"), COPIES.items())
def test_raw_data_is_byte_for_byte(here: str, there: str) -> None:
    assert (tables_folder() / here).read_bytes() == (SHARED / there).read_bytes()


def test_dense_networks_of_renda_are_carried() -> None:
    with (SHARED / "renda2020/renda2020_dense.csv").open(newline="") as file:
        there = {
            row["network"]: (int(row["n"]), float(row["test_mean"]), float(row["test_std"]))
            for row in csv.DictReader(file)
        }
    dense = [r for r in carried("renda2020") if r.method == "dense" and r.column == "test_mean"]
    assert {r.setting: (r.n, r.mean, r.spread) for r in dense} == there


# Read in the same sources after the collection: for the protocol of masks; what the audit of 29 November missed.
OURS = {
    "synflow": {f"synflow-c{i}" for i in (8, 9, 10, 11)}
    | {f"synflow-layers-{pruner}" for pruner in ("random", "magnitude", "snip", "grasp", "synflow")}
    | {"synflow-fig7-one-round", *(f"synflow-fig4-{scores}" for scores in ("synflow", "magnitude", "random"))}
    | {f"synflow-largest-{name}" for name in ("lenet-300-100", "lenet-5-caffe", "conv-2", "conv-4", "conv-6", "mlp-6")}
    | {f"synflow-conserved-{name}" for name in ("lenet-300-100", "lenet-5-caffe", "conv-2", "conv-4", "conv-6")}
    | {"synflow-conserved-mlp-6", "synflow-conserved-vgg11-cifar10"},
    "lth": {"lth-64", "lth-65", "lth-bf16-dense", "lth-bf16-ticket"},  # and bf16 beside fp32
    "snip": {"snip-figure-3-trend"},  # of two rows
    "rigl": {"rigl-ft2", "rigl-ft2-pixels"},
    "rare-gems": {"rg-t2-drop", "rg-t3-order", "rgh-1", "rgh-2", "rgh-3", "rgh-4"},  # and the logs of its history
    "lmc": {"lmc-mnist", "lmc-early", "lmc-lenet-dense"},  # the abstract, and a direction
    "recovery": {"recov-5", "recov-6", "recov-7", "recov-8", "recov-9"},  # the abstract; images
    "oes": {f"oes-{i}" for i in range(1, 5)}  # whatever its protocols and demo notebooks are asked
    | {f"oes-{name}" for name in ("transfer-imp", "dense-falls", "decoder-denser", "lena", "lena-denser", "larger")}
    | {f"oes-{name}" for name in ("deep-decoder", "nb-sparse", "nb-dense", "nb-decoder")},
    "bingo": {"bingo-share", "bingo-imp-share"},  # the rows of its Table 1
    "mehta": {"mehta-lenet-linear", "mehta-grey-linear"}  # directions, of every way to train a target
    | {f"mehta-lenet-{arm}-{reset}" for arm in ("full", "linear", "head") for reset in ("theta0", "random")}
    | {f"mehta-grey-{arm}-{reset}" for arm in ("full", "linear") for reset in ("theta0", "random")},
}


def of_tables(key: str) -> set[str]:
    """Claims whose every number is a row of a result table, and what of the tables decides nothing."""
    left = {"synflow": {"synflow-grasp-runs"}, "stabilizing": {"stab-fig2-3-lenet"}}
    rules = {claim.id: claim.checks for claim in published.load(key).claims}
    rows = {name for name, checks in rules.items() if all(_of_a_row(rule) for rule in checks)}
    return {name for name in rows if not name.startswith(("lth-", "synflow-c"))} | left.get(key, set())


def _of_a_row(rule: Any) -> bool:
    return isinstance(rule, (Curve, Connected, Disconnection)) or (
        isinstance(rule, Value) and rule.published.row is not None
    )


@EVERY_PAPER
def test_every_statement_is_carried_with_its_value(key: str) -> None:
    here: dict[str, Statement] = {s.id: s for s in published.load(key).whole_statements}
    there = {claim["id"]: claim for claim in origin(key)["claims"]}
    assert set(there) <= set(here)
    assert set(here) - set(there) == OURS.get(key, set()) | of_tables(key)
    for name, claim in there.items():
        statement = here[name]
        assert json.dumps(statement.value) == json.dumps(claim["value"]), name
        assert statement.metric == claim["metric"]
        for field in ("read_from", "also_read_from", "setting", "tolerance"):
            assert getattr(statement, field) == claim.get(field), (name, field)
        numbers = re.findall(r"\d+(?:\.\d+)?", claim["source_location"])
        assert set(numbers) <= set(re.findall(r"\d+(?:\.\d+)?", statement.source)), name
        assert statement.note or "note" not in claim, name


@NAMED_ALIKE
def test_sources_gaps_and_papers_are_carried(key: str) -> None:
    paper, document = published.load(key), origin(key)
    for source in document["sources"]:
        assert paper.source(source["id"]).kind == source["kind"]
        assert source["where"] in paper.source(source["id"]).where
    assert list(published.load_record(key).gaps) == document["gaps"]
    for field in ("title", "year", "arxiv"):
        # What the collection did not read may have been read since.
        assert document["paper"][field] in (getattr(paper.paper, field), "not read", "unknown here (2025)")


def leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in leaves(item)]
    return [json.dumps(value)]


@NAMED_ALIKE
def test_every_field_of_every_setting_is_carried(key: str) -> None:
    record = published.load_record(key)
    for setting in origin(key)["settings"]:
        here = record.resolved(setting["id"]).model_dump(mode="json", exclude_none=True)
        found = leaves(here)
        for field, value in setting.items():
            in_words = isinstance(value, str) and any(
                value in text for text in map(json.loads, found) if isinstance(text, str)
            )
            known = json.dumps(value) in found or in_words or field == "setting_source"
            assert value is None or known, (setting["id"], field)
        # Nothing that the origin does not say: what is left are names of this suite's own things, and where a note is
        # from, which the origin keeps in a field of its own.
        own = {"protocol", "read_from", "like", *(["note"] if "setting_source" in setting else [])}
        stated = leaves(setting)
        for field, value in here.items():
            assert field in own or all(text in stated for text in leaves(value)), (setting["id"], field)


def test_mnist1d_is_carried() -> None:
    with (SHARED / "mnist1d/lottery.yaml").open() as file:
        there = yaml.safe_load(file)
    setting = json.dumps(published.load_record("mnist1d").resolved("lottery").model_dump(mode="json"))
    assert all(json.dumps(value)[1:-1] in setting for value in [*there["setting"].values(), there["dense_note"]])
    final = {(r.method, r.x): list(r.values) for r in carried("mnist1d") if r.column == "test_acc_final"}
    for fact in there["facts"]:
        for method in ("imp", "random"):
            assert final[method, fact["sparsity"]] == fact[f"{method}_final"]
    assert {claim["id"] for claim in there["claims"]} <= {s.id for s in published.load("mnist1d").statements}


def test_both_shares_of_dst_stand_in_its_table() -> None:
    """Rows by density and mean; the text's 7.87 % is no row of the table, and stands in a statement."""
    with (SHARED / "dst-2005.06870.yaml").open(encoding="utf-8") as file:
        there = yaml.safe_load(file)["results"]
    table = {(r["kept_pct"] if r["method"] == "DST" else 100.0, r["mean"], r["std"])
             for r in there if r["source_location"] == "Table 1"}  # fmt: skip
    assert {(row.x, row.mean, row.spread) for row in carried("dst")} == table
    (text,) = (r for r in there if r["source_location"] == "text to Fig. 3")
    (conflict,) = (s for s in published.load("dst").whole_statements if s.id == "dst-1")
    assert conflict.value == [2.48, round(100 * text["x_remaining"], 2)]


def test_numbers_of_evci_stand_in_its_table_and_claims() -> None:
    """Accuracies are rows, and disagreements numbers of checks: fractions there, percent here."""
    with (SHARED / "evci-gradient-flow-2010.03533.yaml").open(encoding="utf-8") as file:
        there = [row for row in yaml.safe_load(file)["results"] if row["setting"] == "lenet5-mnist"]
    rows = {(r["method"], r["mean"], r.get("std")) for r in there if r["metric"] == "test_acc"}
    assert {(row.method, row.mean, row.spread) for row in carried("evci")} == rows
    names = {
        "lottery": "Lottery ticket (mask+init)", "scratch": "Scratch (mask, one fixed new init)",
        "scratch-each": "Scratch, different inits", "restart": "Prune restart (from pruned solution)",
        "pruned-each": "Five different pruned solutions",
    }  # fmt: skip
    numbers = {"test_acc": "test_accuracy", "pairwise disagreement": "pairwise_disagreement",
               "disagreement with pruned solution": "pruned_disagreement"}  # fmt: skip
    known = {(r["method"], numbers[r["metric"]]): r for r in there if r["metric"] in numbers}
    checked = 0
    for claim in published.load("evci").claims:
        for rule in claim.checks:
            metric = rule.metric.removeprefix("analysed/")
            if isinstance(rule, Value) and metric != "ensemble_gain":
                row, factor = known[names[rule.of.method], metric], 1 if metric == "test_accuracy" else 100
                numbers_here = (rule.published.mean, rule.published.sd, rule.published.n)
                assert numbers_here == pytest.approx((factor * row["mean"], factor * row["std"], row["n"])), claim.id
                checked += 1
    assert checked == 12
