"""Published claims: which may rest on which numbers, and the files that state them, one per paper. No torch.

`load(key)` gives a paper's claims with the rules that decide them, and the statements that nothing decides yet. Result
tables (`tables`, `table_reader`) are read when a rule names one, so that scoring parses no others.
"""

from __future__ import annotations

from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

from benchmark.claims import table_reader
from benchmark.claims.check import check_fits, check_targets, refers_to_tables
from benchmark.claims.published import Published
from benchmark.claims.table_reader import named, read, read_record, results
from benchmark.claims.tables import ResultTables, validated
from benchmark.utils import strict_yaml
from benchmark.utils.errors import BadInput, did_you_mean


def parse(document: Any, name: str) -> Published:
    """Validate the parsed YAML of a claims file. Raises BadInput naming file, field and cause."""
    return validated(Published, document, name, "See benchmark/claims/papers/lth.yaml")


def folder() -> Path:
    """Folder of the published numbers that come with the package."""
    return Path(str(resources.files("benchmark"))) / "claims" / "papers"


def available() -> list[str]:
    """Keys of the papers, sorted."""
    return sorted(path.stem for path in folder().glob("*.yaml"))


def load_file(path: Path) -> Published:
    """Read one claims file, and of the results file beside it what its rules refer to.

    Raises BadInput if a claim names a protocol, method or level that does not exist, or numbers that are no target.
    """
    paper = parse(strict_yaml.load_file(path), str(path))
    check_fits(paper, str(path))
    if refers_to_tables(paper):
        record = _record_beside(path, paper)
        check_targets(
            paper, record, str(path), cache(lambda name: read(named(record, name), record, path.parents[1] / "tables"))
        )
    return paper


@cache
def load(key: str) -> Published:
    """The claims of one paper by its key. Raises BadInput."""
    paper = as_written(key)
    if refers_to_tables(paper):
        check_targets(paper, load_record(key), str(folder() / f"{key}.yaml"), partial(results, key))
    return paper


@cache
def as_written(key: str) -> Published:
    """The claims of one paper by its key, their numbers not held against its tables. Raises BadInput.

    For plans, which show no verdict and must not wait for 15,000 numbers to be read.
    """
    paper = _claims(key)
    check_fits(paper, str(folder() / f"{key}.yaml"))
    return paper


@cache
def _claims(key: str) -> Published:
    if key not in available():
        raise BadInput(f"paper '{key}'", "nothing is published here under this key", did_you_mean(key, available()))
    path = folder() / f"{key}.yaml"
    return parse(strict_yaml.load_file(path), str(path))


def forget() -> None:
    """Read every file anew when it is next asked for."""
    for cached in (load, as_written, _claims, load_record):
        cached.cache_clear()
    table_reader.forget()


def load_all() -> list[Published]:
    """The claims of every paper, by key."""
    return [load(key) for key in available()]


def all_as_written() -> list[Published]:
    """The same, as `as_written`."""
    return [as_written(key) for key in available()]


@cache
def load_record(key: str) -> ResultTables:
    """Settings, tables and gaps of one paper by its key. Raises BadInput."""
    return _record_beside(folder() / f"{key}.yaml", _claims(key))


def _record_beside(path: Path, paper: Published) -> ResultTables:
    """The results file of a claims file; every source, setting and key that one names must be in the other."""
    beside = path.parents[1] / "tables" / path.name
    record = read_record(beside)
    sources, settings = [source.id for source in paper.sources], [setting.id for setting in record.settings]
    for owner, source in [(t.name, t.read_from) for t in record.tables] + [
        (s.id, s.read_from) for s in record.settings
    ]:
        if source is not None and source not in sources:
            raise BadInput(f"{beside}: {owner}", f"read_from '{source}' is no source", did_you_mean(source, sources))
    for statement in paper.statements:
        if statement.setting is not None and statement.setting not in settings:
            hint = did_you_mean(statement.setting, settings)
            raise BadInput(f"{path}: {statement.id}", f"'{statement.setting}' is no setting of {beside.name}", hint)
    return record
