"""The tables of README and docs/protocols.md name what there is: methods, protocols, and records where they say so."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

import compare_engines
import pytest

from benchmark.protocols import load_all

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
FILE = re.compile(r"`(?:benchmark/analyses/)?(\w+)\.py`")
METHODS = [line for line in README.splitlines() if line.startswith("| ") and FILE.search(line)]
PROTOCOLS = {protocol.id: protocol for protocol in load_all()}


def patterns(page: str) -> set[str]:
    """Ids and shell patterns of protocols in backticks."""
    return set(re.findall(r"`([a-z0-9*]+/[\w*?.-]+)`", (ROOT / page).read_text()))


def test_every_method_file_has_a_row() -> None:
    files = {path.stem for path in (ROOT / "baselines").glob("*.py")} - {"__init__"}
    assert files - set(FILE.findall("\n".join(METHODS))) == set()


@pytest.mark.parametrize("row", METHODS, ids=lambda row: row.split("|")[1].strip())
def test_a_method_stands_where_it_has_records(row: str) -> None:
    named = re.findall(r"\[([\w/-]+)\]\(docs/board", row)
    plugins = {stem.replace("_", "-").replace("mask-criteria", "mask-criterion") for stem in FILE.findall(row)}
    for name in named:
        text = PROTOCOLS[name].model_dump_json()
        assert any(f'"{plugin}"' in text for plugin in plugins), f"{name} has no method of {sorted(plugins)}"
        assert any((ROOT / "results").glob(f"{name}@*/*/*.json")), f"{name} has no record"
    assert named, "a method that stands nowhere"


def test_every_protocol_is_described() -> None:
    described = patterns("docs/protocols.md")
    assert [name for name in PROTOCOLS if not any(fnmatchcase(name, pattern) for pattern in described)] == []


@pytest.mark.parametrize("page", ["README.md", "docs/protocols.md"])
def test_every_pattern_means_a_protocol(page: str) -> None:
    assert [given for given in sorted(patterns(page)) if not any(fnmatchcase(name, given) for name in PROTOCOLS)] == []


@pytest.mark.parametrize("name", compare_engines.BANDS)
def test_the_two_arithmetics_compare_as_the_records_say(name: str) -> None:
    page = (ROOT / "docs/portable.md").read_text()
    for row in compare_engines.rows(name, ROOT / "results"):
        assert f"| {' | '.join(row)} |" in page
