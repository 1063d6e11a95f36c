"""The published record: counts, and its arithmetic done again here from the CSV files."""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from benchmark import protocols
from benchmark.claims import papers as published
from benchmark.claims.table_reader import tables_folder
from benchmark.claims.tables import Result, ResultTable

FOLDER = tables_folder()
KEYS = published.available()
TABLES = [(key, table) for key in KEYS for table in published.load_record(key).tables]
EVERY_TABLE = pytest.mark.parametrize(("key", "table"), TABLES, ids=[f"{key}-{table.name}" for key, table in TABLES])
Lines = list[dict[str, str]]

# From the index of what was collected: rows of each paper, statements of each paper.
NUMBERS = {
    "dst": 16,  # shares stand in the column of x
    "bingo": 4, "grasp": 146, "oes": 10, "rare-gems": 20, "recovery": 3, "rigl": 43, "snfs": 84, "stabilizing": 140,
    "pensia": 2 * (25 + 328 + 656),  # after the last epoch, and the largest after any
    "set": 2 * 3 + 2 * 3,  # three arms in two settings, after the last epoch, and the largest after any
    "snip": 65 + 12,  # Table 2 prints 12 differences to dense, too
    "evci": 6,  # accuracies of LeNet-5; disagreements and ensembles stand in the claims
    "neq": 13 + 20,  # arms of four runs: by eps and at random; its ablations
    "readme-misc": 29 + 2,  # two times in minutes beside the accuracies
}  # fmt: skip
STATEMENTS = {
    "lth": 66, "missing-mark": 7, "lmc": 17 + 3, "svcca": 4 + 3,
    "rare-gems": 4 + 15 + 5,  # its abstract; rows of its tables; its history
    "synflow": 16 + 64 + 1 + 28 + 4 + 8 + 6 + 7,  # curves of its figures, of which GraSP's decide nothing; masks
    "plantnseek": 12 + 8,  # collapse by task and method; what is found, and what is not decided
    "zhou": 5, "tost": 1,
    "neq": 6 + 3,  # and the rows of its runs that a protocol measures
    "evci": 6 + 5,  # and the rows of its table
    "elesedy": 8,
    "dst": 8,  # the conflict, rows of its table, the text to Fig. 3
    "pensia": 5 + 12,  # and the runs that it measures again
    "set": 4 + 6,  # and the rows of its table
    "snip": 4 + 8,  # and its Table 1, a network each, and Fig. 3, its five rows and their trend
    "grasp": 2 + 22,  # and the rows of its tables
    "stabilizing": 8 + 13,  # and its tables, Lenet's not decided
    "rigl": 1 + 2, "snfs": 0, "bingo": 3 + 2, "mehta": 11 + 12, "oes": 14, "readme-misc": 1, "abstract-only": 6,
    "recovery": 4 + 2 + 3,  # and the abstract; images
    "mnist1d": 5 + 2,  # and its two curves
    "escalate": 7,  # arithmetic and directions; its ratios are in abstract-only
    "renda2020": 9,  # orders of its plot data, and its accuracies, which decide nothing
}  # fmt: skip
ROWS = {
    "synflow/fig6_top1.csv": 2340,
    "synflow/fig1_vgg16_cifar100_top1.csv": 375,
    "synflow/vgg16_cifar100_layer_density.csv": 5 * 25 * 3 * 14,
    "synflow/fig5a_imp_iterations_top1.csv": 250,
    "renda2020/unstructured-cifar10.csv": 2980,
    "mnist1d_rounds.csv": 400,
}


def lines(file: str) -> Lines:
    with (FOLDER / file).open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def results(key: str, table: str, **wanted: object) -> list[Result]:
    return [r for r in published.results(key, table) if all(getattr(r, k) == v for k, v in wanted.items())]


def one(key: str, table: str, **wanted: object) -> Result:
    (found,) = results(key, table, **wanted)
    return found


def test_every_paper_has_the_numbers_and_statements_that_were_collected() -> None:
    assert set(KEYS) == set(STATEMENTS)
    for key in KEYS:
        assert len(published.load(key).whole_statements) == STATEMENTS[key], key
    for key, count in NUMBERS.items():
        assert sum(len(published.results(key, table.name)) for table in published.load_record(key).tables) == count, key


def test_every_statement_of_lth_stands_on_its_own() -> None:
    own = {"lth-bf16-dense", "lth-bf16-ticket"}  # tests of equivalence that the suite plans beside them
    known = {f"lth-{i}" for i in (*range(1, 63), 64, 65)} | own
    assert {s.id for s in published.load("lth").whole_statements} == known


@EVERY_TABLE
def test_every_line_of_every_table_is_read(key: str, table: ResultTable) -> None:
    assert len(lines(table.file)) == table.rows == ROWS.get(table.file, table.rows)
    read = Counter(r.column for r in published.results(key, table.name) for _ in range(max(1, len(r.values))))
    cells = Counter(name for line in lines(table.file) for name in table.having("value") if line[name])
    assert read == cells


def test_every_file_belongs_to_a_table() -> None:
    assert {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.csv")} == {t.file for _, t in TABLES}
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(KEYS)


@EVERY_TABLE
def test_density_falls_as_the_papers_unit_says(key: str, table: ResultTable) -> None:
    rising = table.x in ("percent-remaining", "density")
    points = sorted({(r.x, r.density) for r in published.results(key, table.name) if r.x is not None})
    densities = [density for _, density in points]
    assert densities == sorted(set(densities), reverse=not rising)
    assert all(density is not None and 0 <= density <= 1 for density in densities)
    assert table.reaches_zero == (0 in densities)


@pytest.mark.parametrize(
    ("key", "table", "x", "density"),
    [("synflow", "figure-6", 2.75, 10**-2.75), ("grasp", "table-1", 99.5, 0.005),
     ("rare-gems", "table-2", 3.72, 0.0372),
     ("rigl", "imagenet", 0.965, 0.035), ("renda2020", "unstructured-cifar10", 0.1074, 0.1074),
     ("stabilizing", "figure-3", 2.2, 0.022), ("mnist1d", "rounds", 0.919192, 0.080808)],
)  # fmt: skip
def test_densities_by_hand(key: str, table: str, x: float, density: float) -> None:
    assert results(key, table, x=x)[0].density == pytest.approx(density, rel=1e-9)


@EVERY_TABLE
def test_dense_rows_are_called_dense(key: str, table: ResultTable) -> None:
    words = ("dense", "baseline", "Ref")
    for r in published.results(key, table.name):
        if key not in (
            "synflow",
            "mnist1d",
            "renda2020",
            "pensia",
            "neq",
        ):  # there every method has a row with nothing pruned
            assert (r.density == 1) == any(word in r.method for word in words), r


def test_means_and_deviations_of_runs() -> None:
    groups: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for line in lines("synflow/fig6_top1.csv"):
        key = (f"{line['dataset']}-{line['model']}", line["pruner"], line["log10_compression"])
        groups[key].append(float(line["top1_best_epoch"]))
    read = {(r.setting, r.method, str(r.x)): r for r in published.results("synflow", "figure-6")}
    assert len(read) == len(groups) == 780
    for key, values in groups.items():
        mean = sum(values) / 3
        assert (list(read[key].values), read[key].n) == (values, 3)
        assert read[key].mean == pytest.approx(mean)
        assert read[key].spread == pytest.approx(math.sqrt(sum((v - mean) ** 2 for v in values) / 2))
    printed = one("synflow", "figure-6", setting="cifar10-lottery_vgg16_bn", method="magnitude", x=0.75)
    assert (round(printed.mean, 2), round(printed.spread or 0, 1), printed.spread_kind) == (93.36, 0.1, "sample-sd")


def test_synflows_two_figures_agree_where_they_overlap() -> None:
    both = [
        (a, b)
        for a in results("synflow", "figure-6", setting="cifar100-lottery_vgg16_bn")
        for b in results("synflow", "figure-1", column="top1_best_epoch", method=a.method, x=a.x)
    ]
    assert len(both) == 65
    assert all(sorted(a.values) == sorted(b.values) for a, b in both)


def test_the_best_epoch_is_never_below_the_last() -> None:
    for file in ("fig1_vgg16_cifar100_top1.csv", "fig5a_imp_iterations_top1.csv"):
        for line in lines(f"synflow/{file}"):
            assert float(line["top1_best_epoch"]) >= float(line["top1_last_epoch"])


def masks() -> dict[tuple[str, float, str], Lines]:
    found: dict[tuple[str, float, str], Lines] = defaultdict(list)
    for line in lines("synflow/vgg16_cifar100_layer_density.csv"):
        found[line["pruner"], float(line["log10_compression"]), line["run"]].append(line)
    return found


def test_layer_densities_times_sizes_give_the_compression() -> None:
    for (pruner, compression, run), layers in masks().items():
        assert len({layer["layer"] for layer in layers}) == len(layers) == 14
        total = sum(int(layer["size"]) for layer in layers)
        assert total == 14_761_664
        kept = sum(int(layer["size"]) * float(layer["density"]) for layer in layers)
        if (pruner, compression, run) == ("synflow", 6.0, "2"):
            assert kept == 0  # this run of the authors' data kept nothing at all
            continue
        # Densities are printed to six digits, and a mask keeps a whole number of weights.
        assert kept == pytest.approx(total / 10**compression, rel=0, abs=1 + total * 5e-7)


def test_layer_densities_give_the_critical_compressions_of_figure_1() -> None:
    by_run: dict[tuple[str, str], float] = defaultdict(float)
    for (pruner, compression, run), layers in masks().items():
        if all(float(layer["density"]) > 0 for layer in layers):
            by_run[pruner, run] = max(by_run[pruner, run], compression)
    claim = next(s for s in published.load("synflow").statements if s.id == "synflow-c1")
    assert isinstance(claim.value, dict)
    for pruner, stated in claim.value.items():
        found = [value for (name, _), value in by_run.items() if name == pruner.lower()]
        assert sum(found) / 3 == pytest.approx(stated, abs=5e-5)


def test_snip_prints_differences_and_counts_that_fit() -> None:
    table = lines("snip/table-2.csv")
    dense = {line["model"]: float(line["test_error"]) for line in table if line["x"] == "0"}
    for line in (line for line in table if line["delta"]):
        assert float(line["delta"]) == pytest.approx(float(line["test_error"]) - dense[line["model"]], abs=1e-9)
        before, after = (float(n[:-1]) * {"m": 1e6, "k": 1e3}[n[-1]] for n in line["params"].split("->"))
        assert after / before == pytest.approx(1 - float(line["x"]) / 100, rel=0.12)


def test_grasps_tables_agree_with_each_other_and_with_its_statement() -> None:
    table = {(r.setting, r.method, r.x): r for r in published.results("grasp", "table-2")}
    same = [
        (r, table[r.setting, r.method, r.x]) for r in results("grasp", "table-1", method="GraSP") if r.x in (95, 98)
    ]
    assert len(same) == 8
    for a, b in same:
        assert a.mean == b.mean
        assert a.spread == pytest.approx(b.spread, abs=0.051)  # one decimal against two
    gap = table["cifar100-vgg19", "GraSP", 98].mean - table["cifar100-vgg19", "SNIP", 98].mean
    assert gap == pytest.approx(10.44)


def test_statements_follow_from_the_tables_beside_them() -> None:
    l2 = {(r.method.split()[0], r.column): r.mean for r in results("stabilizing", "figure-3", setting="lenet")}
    assert l2["random", "order_l2"] / l2["IMP", "order_l2"] == pytest.approx(2.8, abs=0.05)
    assert l2["random", "pruning_l2"] / l2["IMP", "pruning_l2"] == pytest.approx(1.6, abs=0.05)
    minutes = {r.method: r for r in results("bingo", "table-1", column="minutes")}
    assert 100 * (1 - minutes["BINGO"].mean / minutes["IMP"].mean) == pytest.approx(86.07, abs=0.005)
    assert (minutes["BINGO"].density or 0) - (minutes["IMP"].density or 0) == pytest.approx(0.14)
    chance = {"cifar10-tiny": 10.0, "cifar100-tiny": 1.0, "tinyimagenet": 0.5}
    for data, accuracy in chance.items():
        collapsed = one(
            "synflow", "figure-6", setting=f"{data}_resnet18".replace("net_", "net-"), method="magnitude", x=1.25
        )
        assert collapsed.mean == pytest.approx(accuracy)
    assert one("rare-gems", "table-4", method="IMP (warm)").mean == 74.52


def test_rendas_means_medians_and_deviations_fit() -> None:
    for line in lines("renda2020/unstructured-cifar10.csv"):
        mean, median, sd = (float(line[name]) for name in ("test_mean", "test_median", "test_std"))
        assert abs(mean - median) <= sd + 2e-5  # no median is further from its mean
        assert line["n"] == "3"
    assert len(lines("renda2020/dense.csv")) + len(lines("renda2020/dense-gnmt.csv")) == 7


def test_mnist1ds_dense_networks_are_its_first_rounds() -> None:
    found = {r.method: r.values for r in results("mnist1d", "rounds", x=0.0, column="test_acc_final")}
    assert found == {"random": (60.6, 61.4), "imp": (66.4, 64.8)}


@pytest.mark.parametrize("key", KEYS)
def test_settings_name_protocols_that_exist_and_keep_their_hyperparameters(key: str) -> None:
    for setting in published.load_record(key).settings:
        whole = published.load_record(key).resolved(setting.id)
        assert whole.id == setting.id
        assert set(setting.protocols) <= set(protocols.available())
        assert whole.architecture or whole.dataset or whole.note


def test_what_was_read_second_hand_decides_nothing() -> None:
    for key in KEYS:
        paper = published.load(key)
        kinds = {source.id: source.kind for source in paper.sources}
        assert all(kinds[claim.read_from] != "secondary" and claim.status == "read" for claim in paper.claims)
    marked = {s.id: s.status for key in KEYS for s in published.load(key).statements if s.status != "read"}
    assert marked == {
        "lmc-14": "contradicted", "snip-c1": "contradicted", "mtm-3": "contradicted", "mtm-6": "unverified",
        "random-1": "contradicted",
    }  # fmt: skip


def test_the_package_carries_the_record() -> None:
    assert sum(path.stat().st_size for path in Path(FOLDER).rglob("*.*")) < 1_500_000
