"""A broken record is refused with one error that names the place; untrusted numbers never become targets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark.claims import papers as published
from benchmark.claims import table_reader, tables
from benchmark.utils import strict_yaml
from benchmark.utils.errors import BadInput

CLAIMS = """
schema: lotterybench/published/1
paper: {key: mine, title: T, authors: A, year: 2020, arxiv: "2000.00001"}
sources:
  - {id: text, kind: primary-text, where: here}
  - {id: notes, kind: secondary, where: there}
claims:
  - id: mine-1
    protocol: lth/lenet-mnist
    version: 2
    statement: S
    published: "90"
    source: Table 1
    read_from: text
    setting: net
    checks:
      - rule: value
        metric: best-accuracy
        of: {method: imp, levels: [3]}
        published: {mean: 90.0, sd: 0.5, n: 3, row: {table: table-1, setting: net, method: IMP, x: 50.0}}
not_decided:
  - {id: mine-2, statement: S, source: Fig. 1, read_from: notes, reason: R}
"""
RECORD = """
schema: lotterybench/results/1
settings: [{id: net, lr: 0.1, epochs: 3}, {id: wide, like: net, lr: 0.2}]
tables:
  - name: table-1
    what: W
    source: Table 1
    read_from: text
    file: mine.csv
    rows: 3
    x: percent-remaining
    columns:
      setting: {role: setting}
      method: {role: method}
      x: {role: x}
      acc: {role: value, quantity: test-accuracy, unit: percent, at: best-test, meaning: M}
      sd: {role: spread, of: acc, kind: sd}
      n: {role: n}
      status: {role: status}
gaps: [G]
"""
CSV = """\
setting,method,x,acc,sd,n,status
net,IMP,50,90.0,0.5,3,
net,IMP,20,80.0,,,quoted
wide,dense,100,91,0.1,3,read
"""
Change = Callable[[dict[str, Any]], object]


def write(folder: Path, claims: Change | None = None, record: Change | None = None, csv: str = CSV) -> Path:
    """A folder with one paper, of which some part is changed; gives its claims file."""
    documents = yaml.safe_load(CLAIMS), yaml.safe_load(RECORD)
    for document, change in zip(documents, (claims, record), strict=True):
        if change:
            change(document)
    for part in ("papers", "tables"):
        (folder / part).mkdir(parents=True)
    (folder / "tables" / "mine.csv").write_text(csv)
    (folder / "tables" / "mine.yaml").write_text(yaml.safe_dump(documents[1], sort_keys=False))
    path = folder / "papers" / "mine.yaml"
    path.write_text(yaml.safe_dump(documents[0], sort_keys=False))
    return path


def check(document: dict[str, Any]) -> Any:
    return document["claims"][0]["checks"][0]


def sample(document: dict[str, Any]) -> Any:
    return check(document)["published"]


def table(document: dict[str, Any]) -> Any:
    return document["tables"][0]


def refused(path: Path, *words: str) -> None:
    with pytest.raises(BadInput) as caught:
        published.load_file(path)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in caught.value.cause


def test_the_unchanged_record_loads(tmp_path: Path) -> None:
    assert published.load_file(write(tmp_path)).claims[0].id == "mine-1"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(extra=1), ["mine.yaml: extra", "Extra inputs"]),
        (lambda d: d["sources"][0].update(kind="hearsay"), ["sources.0.kind"]),
        (lambda d: d["sources"].append(d["sources"][0]), ["source id 'text' stands twice"]),
        (lambda d: d["sources"].clear(), ["sources"]),
        (lambda d: d["claims"][0].update(read_from="txt"), ["mine-1", "Did you mean 'text'"]),
        (lambda d: d["claims"][0].pop("read_from"), ["claims.0.read_from", "required"]),
        (lambda d: d["not_decided"][0].update(read_from="note"), ["mine-2", "Did you mean 'notes'"]),
        (lambda d: d["not_decided"][0].update(id="mine-1"), ["claim id 'mine-1' stands twice"]),
        (lambda d: d["not_decided"][0].pop("reason"), ["not_decided.0.reason"]),
        (lambda d: d["not_decided"][0].update(status="rumour"), ["not_decided.0.status"]),
        (lambda d: d["claims"][0].update(setting="nett"), ["mine-1", "'nett' is no setting", "Did you mean 'net'"]),
        # What may not be a target.
        (lambda d: d["claims"][0].update(read_from="notes"), ["mine-1", "secondary", "not_decided"]),
        (lambda d: d["claims"][0].update(status="contradicted"), ["mine-1", "marked 'contradicted'"]),
        (lambda d: d["claims"][0].update(status="unverified"), ["mine-1", "marked 'unverified'"]),
        (lambda d: sample(d)["row"].update(x=20.0), ["mine-1", "marked 'quoted'"]),
        # Numbers that are not the row's.
        (lambda d: sample(d)["row"].update(x=30.0), ["mine-1", "0 rows of 'table-1' are net, IMP, 30"]),
        (lambda d: sample(d)["row"].update(table="table-2"), ["no table 'table-2'", "Did you mean 'table-1'"]),
        (lambda d: sample(d).update(mean=90.1), ["mean 90.1 is 90"]),
        (lambda d: sample(d).update(sd=0.4), ["sd 0.4 is 0.5"]),
        (lambda d: sample(d).update(n=5), ["n 5 is 3"]),
        (lambda d: check(d).update(metric="last-accuracy"), ["last-accuracy", "taken at 'best-test'"]),
        (lambda d: check(d).update(metric="train-accuracy"), ["train-accuracy is compared with test-accuracy"]),
    ],
)
def test_broken_claims_are_refused(tmp_path: Path, change: Change, words: list[str]) -> None:
    refused(write(tmp_path, claims=change), *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(schema="lotterybench/results/2"), ["schema"]),
        (lambda d: table(d).update(source_url="x"), ["tables.0.source_url", "Extra inputs"]),
        (lambda d: table(d).pop("source"), ["tables.0.source", "required"]),
        (lambda d: table(d).update(read_from="tex"), ["table-1", "'tex' is no source", "Did you mean 'text'"]),
        (lambda d: d["settings"][0].update(read_from="nowhere"), ["net", "'nowhere' is no source"]),
        (lambda d: table(d)["columns"]["acc"].update(unit="percents"), ["columns.acc.unit"]),
        (lambda d: table(d)["columns"]["acc"].pop("unit"), ["quantity and unit"]),
        (lambda d: table(d)["columns"]["acc"].pop("at"), ["when in a run"]),
        (lambda d: table(d)["columns"]["x"].update(unit="percent"), ["quantity and unit"]),
        (lambda d: table(d)["columns"]["sd"].update(kind="error bar"), ["columns.sd.kind"]),
        (lambda d: table(d)["columns"]["sd"].update(of="accuracy"), ["the spread of 'accuracy'"]),
        (lambda d: table(d)["columns"]["n"].update(role="x"), ["two columns have the role x"]),
        (lambda d: table(d).update(x="none"), ["role x"]),
        (lambda d: table(d).update(x="percent"), ["tables.0.x"]),
        (lambda d: table(d).update(setting="net"), ["role setting"]),
        (lambda d: table(d)["columns"].pop("acc"), ["no column has the role value"]),
        (lambda d: table(d).update(status="unverified"), ["a status other than read"]),
        (lambda d: table(d).update(file="../../x.csv"), ["tables.0.file"]),
        (lambda d: d["tables"].append(table(d)), ["table 'table-1' stands twice"]),
        (lambda d: d["settings"].append(d["settings"][0]), ["setting 'net' stands twice"]),
        (lambda d: d["settings"][1].update(like="later"), ["no earlier setting"]),
        # What may not be a target.
        (lambda d: table(d).update(read_from="notes"), ["mine-1", "table-1", "secondary"]),
        (lambda d: table(d).update(status="contradicted", why="W"), ["mine-1", "marked 'contradicted'"]),
        (lambda d: table(d).update(status="not-a-target", why="W"), ["mine-1", "marked 'not-a-target'"]),
        (lambda d: table(d)["columns"]["sd"].update(kind="largest-deviation"), ["no standard deviation"]),
        (lambda d: table(d)["columns"]["acc"].update(quantity="test-error"), ["mean 90.0 is 10"]),
    ],
)
def test_broken_descriptions_are_refused(tmp_path: Path, change: Change, words: list[str]) -> None:
    refused(write(tmp_path, record=change), *words)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("90.0", "nan", ["mine.csv:2: acc", "nan"]),
        ("90.0", "inf", ["mine.csv:2: acc"]),
        ("90.0", "ninety", ["mine.csv:2: acc", "'ninety' is no number"]),
        ("90.0", "190", ["mine.csv:2: acc", "outside 0 to 100"]),
        ("0.5", "-0.5", ["mine.csv:2: sd"]),
        (",100,", ",0,", ["mine.csv:4: x", "nothing remains"]),
        (",100,", ",101,", ["mine.csv:4: x", "outside 0 to 100"]),
        ("0.5,3", "0.5,3.5", ["mine.csv:2: n", "'3.5' is no count"]),
        ("quoted", "heard", ["mine.csv:3: status", "'heard' is no status"]),
        ("wide,", "wild,", ["mine.csv:4: setting", "Did you mean 'wide'"]),
        ("wide,dense", "wide,", ["mine.csv:4: method", "no method"]),
        ("net,IMP,20,80.0", "net,IMP,50,80.0", ["mine.csv:2", "stands twice"]),
        ("0.5,3", "0.5,", ["mine-1", "n 3 is not stated"]),
        ("20,80.0", "20,", ["mine.csv:3: acc", "holds no number"]),
        ("acc,sd", "sd,acc", ["mine.csv:1", "described: setting, method, x, acc, sd"]),
        ("wide,dense,100,91,0.1,3,read\n", "", ["holds 2 rows, not the 3 described"]),
        ("quoted", "quoted,", ["mine.csv:3", "has 8 cells, not 7"]),
    ],
)
def test_broken_rows_are_refused(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert CSV.count(old) == 1
    refused(write(tmp_path, csv=CSV.replace(old, new)), *words)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "tables" / "mine.csv").unlink()
    refused(path, "mine.csv", "not a readable table")
    (tmp_path / "tables" / "mine.yaml").unlink()
    refused(path, "mine.yaml", "cannot be read")


def test_a_curve_rests_on_a_described_table(tmp_path: Path) -> None:
    def curve(document: dict[str, Any]) -> None:
        document["paper"]["key"] = "lth"
        points = {"method": "imp", "levels": [1]}
        rule = {"rule": "curve", "metric": "last-accuracy", "of": points, "table": "table-2", "spread": "own"}
        document["claims"][0]["checks"] = [{**rule, "setting": "net", "published": ["IMP"]}]

    def other(field: str, value: object) -> Callable[[dict[str, Any]], None]:
        def change(document: dict[str, Any]) -> None:
            curve(document)
            document["claims"][0]["checks"][0].update({"table": "table-1", field: value})

        return change

    def written(name: str, claims: Callable[[dict[str, Any]], None]) -> Path:
        (tmp_path / name).mkdir()
        return write(tmp_path / name, claims=claims)

    refused(written("table", curve), "mine-1", "no table 'table-2'", "table-1")
    refused(written("method", other("published", ["Imp"])), "mine-1", "no 'Imp' of setting 'net'", "Known: IMP")
    # One number at 50 % is no runs, and 80 % is not in the table at all.
    refused(written("runs", other("metric", "best-accuracy")), "mine-1", "fewer than two runs", "level 1")


def test_settings_take_over_what_they_do_not_give() -> None:
    record = tables.parse_record(yaml.safe_load(RECORD), "mine")
    wide = record.resolved("wide")
    assert (wide.id, wide.lr, wide.epochs, wide.like) == ("wide", 0.2, 3, None)


@pytest.mark.parametrize(
    ("quantity", "unit", "printed"),
    [("test-error", "percent", 10.0), ("test-accuracy", "fraction", 0.9), ("test-error", "fraction", 0.1)],
)
def test_errors_and_fractions_are_compared_as_percent(tmp_path: Path, quantity: str, unit: str, printed: float) -> None:
    one = 100 if unit == "fraction" else 1
    rows = f"net,IMP,50,{printed},{0.5 / one},3,\nnet,IMP,20,{80 / one},,,\nnet,dense,100,{91 / one},,,\n"
    described = {"quantity": quantity, "unit": unit}
    path = write(
        tmp_path, None, lambda d: table(d)["columns"]["acc"].update(described), CSV.splitlines()[0] + "\n" + rows
    )
    assert published.load_file(path)


def test_unknown_tables_of_a_paper_are_named() -> None:
    with pytest.raises(BadInput, match="Known: table-1, table-2, table-3"):
        table_reader.results("grasp", "tabel")


def test_libyaml_and_pyyaml_read_every_file_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted(Path(published.folder().parent).rglob("*.yaml"))
    fast = [strict_yaml.load_file(path) for path in files]
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    assert fast == [strict_yaml.load_file(path) for path in files]
    assert len(files) > 30
