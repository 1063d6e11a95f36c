"""Published numbers and claims, one strict YAML file per paper. No torch."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from benchmark import strict_yaml
from benchmark.errors import BadInput, did_you_mean
from benchmark.protocol import Frozen
from benchmark.published.rules import Rule
from benchmark.spec.evaluation import Paper


class Source(Frozen):
    """Where numbers were read."""

    id: str
    kind: Literal["primary-text", "author-data", "code"]
    where: str


class Claim(Frozen):
    """One checkable statement of a paper. It holds only if every check does."""

    id: str = Field(pattern=r"^[a-z0-9]+-[a-z0-9-]+$")
    protocol: str = Field(description="id of the protocol that decides it")
    statement: str
    published: str = Field(description="the number or ordering as the paper gives it")
    source: str = Field(description="section or figure")
    read_from: str = Field(description="id of a source")
    note: str | None = None
    checks: tuple[Rule, ...] = Field(min_length=1)


class NotDecided(Frozen):
    """A statement that no protocol of the suite decides, and why."""

    id: str
    statement: str
    source: str
    reason: str


class Fact(Frozen):
    """Raw published values of one metric at one level, beside the claims."""

    protocol: str
    method: str
    level: int = Field(ge=0)
    values: tuple[float, ...]


class Published(Frozen):
    """Everything the suite holds of one paper."""

    schema_: Literal["lotterybench/published/1"] = Field(alias="schema")
    paper: Paper
    sources: tuple[Source, ...] = Field(min_length=1)
    densities: dict[str, dict[int, float]] = Field(
        description="protocol -> level -> the density as the paper prints it; these levels are shown in reports"
    )
    facts: tuple[Fact, ...] = ()
    claims: tuple[Claim, ...]
    not_decided: tuple[NotDecided, ...]

    @model_validator(mode="after")
    def _ids(self) -> Self:
        ids = [claim.id for claim in self.claims] + [left_out.id for left_out in self.not_decided]
        if twice := {name for name in ids if ids.count(name) > 1}:
            raise ValueError(f"claim id '{min(twice)}' stands twice")
        known = [source.id for source in self.sources]
        for claim in self.claims:
            if claim.read_from not in known:
                raise ValueError(
                    f"{claim.id}: read_from '{claim.read_from}' is no source. {did_you_mean(claim.read_from, known)}"
                )
        return self


def parse(document: Any, name: str) -> Published:
    """Validate a parsed YAML document. Raises BadInput naming file, field and cause."""
    if not isinstance(document, dict):
        raise BadInput(name, "published numbers are a mapping of fields", "See benchmark/published/lth.yaml")
    try:
        return Published.model_validate_json(json.dumps(document))
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
    """Read one file. Raises BadInput."""
    return parse(strict_yaml.load_file(path), str(path))


def load(key: str) -> Published:
    """The published numbers of one paper by its key. Raises BadInput."""
    if key not in available():
        raise BadInput(f"paper '{key}'", "nothing is published here under this key", did_you_mean(key, available()))
    return load_file(folder() / f"{key}.yaml")


def load_all() -> list[Published]:
    """Every paper, by key."""
    return [load(key) for key in available()]


@cache
def table(name: str) -> Mapping[tuple[str, int], tuple[float, ...]]:
    """A published curve from the CSV `name`: (method, level) -> final test accuracy in percent, one per trial.

    The paper's round r is level r - 1. Raises BadInput if the file is missing or malformed.
    """
    path = folder() / name
    values: dict[tuple[str, int], dict[int, float]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                trials = values.setdefault((row["method"], int(row["round"]) - 1), {})
                trials[int(row["trial"])] = float(row["test_acc_final"])
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise BadInput(str(path), f"not a readable table ({error})", "Restore it from git") from error
    return {cell: tuple(trials[t] for t in sorted(trials)) for cell, trials in values.items()}
