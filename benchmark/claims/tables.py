"""The published results of one paper, described: settings, result tables, gaps. No torch.

The rows are CSV files (`table_reader`). A table describes every column of its CSV: its role, and for numbers the
quantity, the unit and when in a run it was taken.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, JsonValue, ValidationError, model_validator

from benchmark.utils.errors import BadInput, did_you_mean
from benchmark.utils.strict_model import Frozen

Unit = Literal["percent", "points", "fraction", "dB", "minutes", "L2", "degrees", "nats", "score", "BLEU"]
Density = Literal["percent-remaining", "percent-pruned", "sparsity", "density", "log10-compression", "none"]
Quantity = Literal[
    "test-accuracy", "test-error", "validation-accuracy", "accuracy-change", "training-loss", "PSNR", "BLEU",
    "time", "distance", "angle", "layer-density", "layer-score",
]  # fmt: skip
Moment = Literal["last", "best-test", "early-stop", "best-logged", "not-stated"]
"""When in a run: its last evaluation, the best test evaluation, early stopping, the best of the logged steps."""
SpreadKind = Literal[
    "sd", "sample-sd", "largest-deviation", "plus-minus", "standard-error", "standard-error-unit-unknown"
]
"""`sd`: a standard deviation, divisor not stated. `largest-deviation`: of the lowest or highest run from the mean.
`plus-minus`: printed as ±, not said what it is."""
Role = Literal["setting", "method", "x", "run", "n", "value", "spread", "label", "status"]
HOLDS_DEFINITION = ("test-accuracy", "test-error", "validation-accuracy")  # papers differ in when they read these


class Setting(Frozen):
    """One experimental setting, as far as it could be read. `like`: all that is not given here is as there."""

    id: str
    protocol: str | tuple[str, ...] | None = Field(
        default=None, description="id of the protocol that freezes this setting; several where it has several values"
    )
    like: str | None = Field(default=None, description="id of an earlier setting of the same paper")
    read_from: str | None = Field(default=None, description="id of a source, where it is not the numbers' own")
    architecture: str | None = None
    params: str | None = None
    dataset: str | None = None
    split: str | None = None
    optimizer: str | None = None
    lr: float | str | None = None
    schedule: str | None = None
    warmup: int | str | None = None
    batch_size: int | str | None = None
    iterations: int | None = None
    epochs: int | str | None = None
    weight_decay: float | None = None
    augmentation: str | None = None
    init: str | None = None
    pruned_layers: str | None = None
    pruning: str | None = None
    runs: int | str | None = Field(default=None, description="trials, seeds or replicates")
    accuracy_definition: str | None = None
    note: str | None = None
    other: dict[str, JsonValue] = Field(default_factory=dict, description="what has no field of its own")

    @property
    def protocols(self) -> tuple[str, ...]:
        """Ids of the protocols that freeze this setting."""
        return (self.protocol,) if isinstance(self.protocol, str) else self.protocol or ()


class Column(Frozen):
    """One column of a CSV.

    setting, method: parts of the row's key (several are joined with '-'). x: the paper's density. run: numbers the
    runs whose values are averaged. n: runs behind the row. value: a measured number. spread: `kind`, `of` the value
    column it belongs to, in its unit. label: any further part of the key. status: trust of the row.
    """

    role: Role
    meaning: str | None = None
    quantity: Quantity | None = None
    unit: Unit | None = None
    at: Moment | None = None
    n: int | None = Field(default=None, gt=0, description="runs behind every value of this column")
    of: str | None = None
    kind: SpreadKind | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if {self.quantity is not None, self.unit is not None} != {self.role == "value"}:
            raise ValueError("quantity and unit belong to a value column, and it needs both")
        if (self.at is not None) != (self.quantity in HOLDS_DEFINITION or self.quantity == "PSNR"):
            raise ValueError("an accuracy, error or PSNR says when in a run it was taken (at), nothing else does")
        if {self.of is not None, self.kind is not None} != {self.role == "spread"}:
            raise ValueError("of and kind belong to a spread column, and it needs both")
        if self.n is not None and self.role != "value":
            raise ValueError("n belongs to a value column")
        return self


class ResultTable(Frozen):
    """One table of results. `rows` counts the lines of the file without its heading, so a cut file is seen."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    what: str = Field(description="what is in it, in one line")
    source: str = Field(description="table, figure or file that it stands in")
    read_from: str = Field(description="id of a source in <key>.yaml")
    status: Status = "read"
    why: str | None = Field(default=None, description="why the status is not `read`")
    file: str = Field(pattern=r"^[a-z0-9_/-]+\.csv$", description="relative to benchmark/claims/tables")
    rows: int = Field(gt=0)
    x: Density
    reaches_zero: bool = Field(default=False, description="whether its sparsest rows have nothing left")
    setting: str | None = Field(default=None, description="setting of all rows, where no column says")
    method: str | None = Field(default=None, description="method of all rows, where no column says")
    columns: dict[str, Column]

    def having(self, role: Role) -> list[str]:
        """Names of the columns of a role, in order."""
        return [name for name, column in self.columns.items() if column.role == role]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.setting is None) == (not self.having("setting")):
            raise ValueError(f"{self.name}: give the setting of all rows or columns with the role setting")
        if (self.method is None) == (not self.having("method")):
            raise ValueError(f"{self.name}: give the method of all rows or columns with the role method")
        if not self.having("value"):
            raise ValueError(f"{self.name}: no column has the role value")
        for role in ("x", "run", "n", "status"):
            if len(self.having(role)) > 1:
                raise ValueError(f"{self.name}: two columns have the role {role}")
        if (self.x == "none") != (not self.having("x")):
            raise ValueError(f"{self.name}: a column with the role x and its unit go together")
        if (self.status == "read") != (self.why is None):
            raise ValueError(f"{self.name}: a status other than read and its reason go together")
        for name in self.having("spread"):
            if self.columns[name].of not in self.having("value"):
                raise ValueError(f"{self.name}: {name} is the spread of '{self.columns[name].of}', no value column")
        return self


class ResultTables(Frozen):
    """Settings, tables and gaps of one paper."""

    schema_: Literal["lotterybench/results/1"] = Field(alias="schema")
    settings: tuple[Setting, ...] = ()
    tables: tuple[ResultTable, ...] = ()
    gaps: tuple[str, ...] = Field(default=(), description="what could not be read")

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables)

    def resolved(self, key: str) -> Setting:
        """A setting with the fields that it takes from the one it is like. Raises KeyError for an unknown id."""
        setting = {s.id: s for s in self.settings}[key]
        if setting.like is None:
            return setting
        base = self.resolved(setting.like)
        own = {name for name in setting.model_fields_set if name != "like"}
        fields = {name: getattr(setting if name in own else base, name) for name in own | base.model_fields_set}
        return Setting.model_construct(**{**fields, "other": {**base.other, **setting.other}})

    @model_validator(mode="after")
    def _names(self) -> Self:
        for what, names in (("setting", [s.id for s in self.settings]), ("table", [t.name for t in self.tables])):
            if twice := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"{what} '{min(twice)}' stands twice")
        seen: list[str] = []
        for setting in self.settings:
            if setting.like is not None and setting.like not in seen:
                raise ValueError(f"{setting.id}: like '{setting.like}' is no earlier setting")
            seen.append(setting.id)
        for table in self.tables:
            if table.setting is not None and table.setting not in seen:
                raise ValueError(f"{table.name}: '{table.setting}' is no setting. {did_you_mean(table.setting, seen)}")
        return self


FIX = "Correct the row, or the table's description in claims/tables/*.yaml; docs/published.md says what both mean"
RANGES: Mapping[Unit, tuple[float, float]] = {
    "percent": (0, 100),
    "points": (-100, 100),
    "fraction": (0, 1),
    "minutes": (0, math.inf),
    "L2": (0, math.inf),
    "degrees": (0, 180),
    "BLEU": (0, 100),
}
SAMPLE: SpreadKind = "sample-sd"
X_RANGES: Mapping[Density, tuple[float, float]] = {
    "percent-remaining": (0, 100),
    "percent-pruned": (0, 100),
    "sparsity": (0, 1),
    "density": (0, 1),
    "log10-compression": (0, 9),
}


@dataclass(frozen=True, slots=True)
class Result:
    """One published number.

    `x` is in the paper's own unit (`Table.x`), `density` the fraction that remains; None where the source gives none.
    `mean`, `spread` and `values` are in `unit`. `values`: the runs one by one, where they are published; then mean and
    spread are computed from them. `spread` is None where it is not published, or of fewer than two runs.
    """

    table: str
    setting: str
    method: str
    x: float | None
    density: float | None
    labels: tuple[tuple[str, str], ...]
    column: str
    quantity: Quantity
    at: Moment | None
    unit: Unit
    mean: float
    spread: float | None
    spread_kind: SpreadKind | None
    n: int | None
    values: tuple[float, ...]
    status: Status


def density_of(x: float, unit: Density) -> float:
    """The fraction that remains, from a density in the paper's unit. Rounded to 12 places, which no paper prints."""
    if unit == "log10-compression":
        return round(10**-x, 12)
    fraction = x / 100 if unit.startswith("percent") else x
    return round(1 - fraction if unit in ("percent-pruned", "sparsity") else fraction, 12)


Key = tuple[str, str, float | None, tuple[tuple[str, str], ...]]


# A mask keeps a whole number of weights, which is more than that off where 15 are left: so one weight either way, too.


SourceKind = Literal[
    "primary-text", "primary-screenshot", "author-data", "author-post", "code", "derivation", "secondary"
]
"""The paper's text, a picture of its tables, files or posts of its authors, code, a proof that stands in this
repository's docs and not in the paper, or somebody else's report."""


Status = Literal["read", "quoted", "unverified", "contradicted", "not-a-target"]
"""`read` in its source; `quoted` by the source from another paper; `unverified`; `contradicted` by another source or
place; `not-a-target`: read well, but known not to measure what it is labelled as."""


class Source(Frozen):
    """Where numbers were read."""

    id: str = Field(min_length=1)
    kind: SourceKind
    where: str = Field(min_length=1)


def why_no_target(source: Source, status: Status) -> str | None:
    """Why no verdict may rest on a number of this source and status; None if one may."""
    if source.kind == "secondary":
        return f"source '{source.id}' is secondary"
    return None if status == "read" else f"it is marked '{status}'"


Document = TypeVar("Document", bound=Frozen)


def parse_record(document: Any, name: str) -> ResultTables:
    """Validate the parsed YAML of a results file. Raises BadInput naming file, field and cause."""
    return validated(ResultTables, document, name, "See benchmark/claims/tables/grasp.yaml")


def validated(model: type[Document], document: Any, name: str, example: str) -> Document:
    """A parsed YAML document as a model. Raises BadInput naming file, field and cause; `example` is a good file."""
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
        raise BadInput(f"{name}: {field}", cause, "Correct the field; its meaning is in benchmark/claims") from error
