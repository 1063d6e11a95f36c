"""Published numbers and claims. No torch.

One strict YAML file per paper holds its claims, another (results/) describes its settings and result tables, whose rows
are CSV files. Each is read when it is asked for, so that scoring parses no table but those that a rule names.
"""

from __future__ import annotations

import json
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from benchmark import strict_yaml
from benchmark.errors import BadInput, did_you_mean
from benchmark.published.claims import Claim, Fact, NotDecided, Published, Statement
from benchmark.published.fits import check_fits
from benchmark.published.record import Record, Setting, Table
from benchmark.published.tables import Result, read
from benchmark.published.targets import check_targets, refers_to_tables
from benchmark.published.trust import Source
from benchmark.spec.frozen import Frozen

__all__ = [
    "Claim", "Fact", "NotDecided", "Published", "Record", "Result", "Setting", "Source", "Statement", "Table",
    "all_as_written", "as_written", "available", "folder", "forget", "load", "load_all",
    "load_file", "load_record", "parse", "parse_record", "results",
]  # fmt: skip

Document = TypeVar("Document", bound=Frozen)


def parse(document: Any, name: str) -> Published:
    """Validate the parsed YAML of a claims file. Raises BadInput naming file, field and cause."""
    return _validated(Published, document, name, "See benchmark/published/lth.yaml")


def parse_record(document: Any, name: str) -> Record:
    """Validate the parsed YAML of a results file. Raises BadInput naming file, field and cause."""
    return _validated(Record, document, name, "See benchmark/published/results/grasp.yaml")


def _validated(model: type[Document], document: Any, name: str, example: str) -> Document:
    if not isinstance(document, dict):
        raise BadInput(name, "published numbers are a mapping of fields", example)
    try:
        return model.model_validate_json(json.dumps(document))
    except ValidationError as error:
        found = error.errors()
        # Of the errors of a union's members, a broken constraint says more than a wrong shape.
        first = next((e for e in found if e["type"] == "value_error"), found[0])
        field = ".".join(str(part) for part in first["loc"]) or "document"
        cause = str(first["msg"]).removeprefix("Value error, ")
        raise BadInput(f"{name}: {field}", cause, "Correct the field; its meaning is in benchmark/published") from error


def folder() -> Path:
    """Folder of the published numbers that come with the package."""
    return Path(str(resources.files("benchmark"))) / "published"


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
        check_targets(paper, record, str(path), cache(lambda name: read(_named(record, name), record, path.parent)))
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
    for cached in (load, as_written, _claims, load_record, results):
        cached.cache_clear()


def load_all() -> list[Published]:
    """The claims of every paper, by key."""
    return [load(key) for key in available()]


def all_as_written() -> list[Published]:
    """The same, as `as_written`."""
    return [as_written(key) for key in available()]


@cache
def load_record(key: str) -> Record:
    """Settings, tables and gaps of one paper by its key. Raises BadInput."""
    return _record_beside(folder() / f"{key}.yaml", _claims(key))


def _record_beside(path: Path, paper: Published) -> Record:
    """The results file of a claims file; every source, setting and key that one names must be in the other."""
    beside = path.parent / "results" / path.name
    record = parse_record(strict_yaml.load_file(beside), str(beside))
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


@cache
def results(key: str, name: str) -> tuple[Result, ...]:
    """The rows of one table of a paper. Raises BadInput if there is no such table or its file does not fit."""
    record = load_record(key)
    names = [table.name for table in record.tables]
    if name not in names:
        raise BadInput(f"table '{name}' of {key}", "there is no such table", did_you_mean(name, names))
    return read(_named(record, name), record, folder())


def _named(record: Record, name: str) -> Table:
    return next(table for table in record.tables if table.name == name)
