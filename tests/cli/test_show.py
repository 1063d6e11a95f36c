"""`list` and `info` on papers: what a reader sees, complete JSON, clear errors, no torch, nothing read in vain."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from command_line import in_process

from benchmark.claims import papers as published
from benchmark.claims import table_reader
from benchmark.claims import tables as table_module
from benchmark.claims.tables import Result
from benchmark.cli.main import cli
from benchmark.cli.terminal import show_table
from benchmark.protocols import available

ROOT = Path(__file__).parents[2]


def output(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(cli, list(arguments))
    assert result.exit_code == code, result.output
    return result.output


def test_list_counts_claims_and_results_of_every_paper() -> None:
    text = output("list", "--all")
    papers = {paper["key"]: paper for paper in json.loads(output("list", "--json"))["papers"]}
    assert list(papers) == published.available()
    assert all(f"\n{key} " in text for key in papers)
    lth = published.load("lth")
    assert (papers["lth"]["claims"], papers["lth"]["statements"]) == (len(lth.claims), 64)
    assert papers["lth"]["with_a_rule"] == 64 - len(lth.not_decided)
    assert f"{64 - len(lth.not_decided)} of 64" in text, "two that this suite asks besides are not the paper's"
    assert papers["synflow"]["result_rows"] == 2340 + 375 + 5250 + 250


def test_list_is_a_line_for_each_protocol_and_counts() -> None:
    lines, known = output("list").splitlines(), available()
    assert [line.split()[0] for line in lines[: len(known)]] == known
    assert f"{len(known)} protocols, " in lines[len(known)]
    assert "list --all" in " ".join(lines[len(known) :])
    assert len(lines) <= len(known) + 4


@pytest.mark.parametrize(
    "arguments", [("list",), ("list", "--all"), ("info",), ("info", "lth"), ("info", "lth/lenet-mnist")]
)
def test_lines_keep_to_the_width_and_lose_nothing(arguments: tuple[str, ...]) -> None:
    lines = output(*arguments).splitlines()
    assert [line for line in lines if len(line) > 80 and " " in line.strip()] == []


@pytest.mark.parametrize("key", published.available())
def test_info_shows_sources_settings_tables_statements_and_gaps(key: str) -> None:
    text = " ".join(output("info", key).split())
    paper, record = published.load(key), published.load_record(key)
    wanted = [s.id for s in paper.sources] + [s.id for s in paper.statements] + [s.id for s in record.settings]
    wanted += [t.name for t in record.tables] + [" ".join(gap.split()) for gap in record.gaps]
    assert [word for word in wanted if word not in text] == []
    assert all(f"lotterybench info {key} --table" in text for _ in record.tables)


def test_info_says_what_decides_a_claim_and_why_nothing_does() -> None:
    text = " ".join(output("info", "lth").split())
    assert "decided by lth/lenet-mnist" in text[text.index("Claims") :]
    reason = next(statement.reason for statement in published.load("lth").not_decided)
    assert f"nothing: {reason[:20]}" in text
    assert "lth-15 " in text
    assert "lth-48 " in text
    assert "in parts: lth-21-conv2" in text


@pytest.mark.parametrize("key", published.available())
def test_json_is_complete(key: str) -> None:
    document = json.loads(output("info", key, "--json"))
    record = published.load_record(key)
    assert len(document["settings"]) == len(record.settings)
    found: list[Any] = [result for table in document["tables"] for result in table["results"]]
    every: list[Result] = [r for table in record.tables for r in published.results(key, table.name)]
    assert [r["mean"] for r in found] == [r.mean for r in every]
    parts = [document[name] for name in ("claims", "divided", "not_decided")]
    assert sum(map(len, parts)) == len(published.load(key).statements)


def test_a_table_is_cut_and_can_be_had_whole() -> None:
    cut, whole = (
        output("info", "grasp", "--table", "table-2"),
        output("info", "grasp", "--table", "table-2", "--rows", "0"),
    )
    assert "36 more lines" in cut
    assert "more lines" not in whole
    assert whole.count("cifar") == 76
    assert "± is sd" in cut
    assert "taken at: best-test" in cut
    assert len(json.loads(output("info", "grasp", "--table", "table-2", "--json"))["tables"]) == 1


def test_quoted_rows_and_tables_that_are_no_target_are_marked() -> None:
    assert "[quoted]" in output("info", "snfs", "--table", "lenet-5")
    assert "Status not-a-target" in output("info", "synflow", "--table", "figure-5a")


def test_what_may_decide_is_said_of_every_table() -> None:
    lines = output("info", "rigl").partition("Results")[2].splitlines()
    rows = {line.split()[0]: line.split()[-1] for line in reversed(lines) if line.strip()}
    assert (rows["figure-4-right"], rows["reproduction"]) == ("yes", "no")
    assert " by row\n" in output("info", "snfs")


def test_brackets_are_text_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show_table("T", ["a"], [["2 [quoted]"]])
    assert "[quoted]" in capsys.readouterr().out


def test_info_alone_says_what_can_be_asked() -> None:
    text = output("info")
    assert "lth/lenet-mnist" in text
    assert "renda2020" in text
    assert "--table" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["info", "grasp", "--table", "table-9"], ["table 'table-9' of grasp", "Did you mean 'table-"]),
        (["info", "lmc", "--table", "any"], ["table 'any' of lmc", "no table of this paper"]),
        (["info", "mnist1d/mlp", "--table", "rounds"], ["is a protocol", "Name a paper"]),
        (["info", "graps"], ["Did you mean 'grasp'"]),
    ],
)
def test_wrong_names_are_one_error_line(arguments: list[str], words: list[str]) -> None:
    done = in_process(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert all(word in done.stderr for word in words)
    assert len(done.stderr.splitlines()) == 1


def test_reading_the_whole_record_takes_no_torch() -> None:
    code = """
import sys
from benchmark.claims import papers as published
from benchmark.claims.table_reader import results
for key in published.available():
    for table in published.load_record(key).tables:
        results(key, table.name)
print('torch' in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"


def test_scoring_reads_only_the_tables_that_a_rule_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, str]] = []
    read = table_reader.read

    def noted(table: table_module.ResultTable, *rest: Any) -> Any:
        asked.append((Path(table.file), table.name))
        return read(table, *rest)

    monkeypatch.setattr(table_reader, "read", noted)
    published.forget()
    papers = published.load_all()
    named = {name for paper in papers for claim in paper.claims for rule in claim.checks for name in tables_of(rule)}
    assert {"rounds", "layers", "figure-6"} < named < {t.name for p in papers for t in tables(p)}
    table_reader.results("synflow", "figure-6")
    assert len(asked) == len(set(asked)), "a table is read once, however many rules name it"
    assert {name for _, name in asked} == named


def tables(paper: published.Published) -> tuple[table_module.ResultTable, ...]:
    return published.load_record(paper.paper.key).tables


def tables_of(rule: Any) -> list[str]:
    row = getattr(getattr(rule, "published", None), "row", None)
    return [name for name in (getattr(rule, "table", None), row and row.table) if name]
