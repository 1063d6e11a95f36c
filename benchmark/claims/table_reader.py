"""Rows of published result tables, from the CSV files that `tables` describes. No torch.

`results(paper, table)` reads a table of those that come with the package, once; `read` refuses a row that does not fit
its description, naming file, line and column.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import cast, get_args

from benchmark.claims import statistics
from benchmark.claims.tables import (
    FIX,
    RANGES,
    SAMPLE,
    X_RANGES,
    Key,
    Result,
    ResultTable,
    ResultTables,
    Role,
    SpreadKind,
    Status,
    density_of,
    parse_record,
)
from benchmark.utils import strict_yaml
from benchmark.utils.errors import BadInput, did_you_mean


class _CellRefused(ValueError):
    """A cell that does not fit its column: its place is added where the line is known."""

    def __init__(self, column: str, cause: str) -> None:
        super().__init__(cause)
        self.column, self.cause = column, cause


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    cells: Mapping[str, str]

    def number(self, name: str, limits: tuple[float, float], unit: str) -> float | None:
        """The number within its limits, None for an empty cell. Raises _Refused."""
        text = self.cells[name]
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            raise _CellRefused(name, f"'{text}' is no number") from None
        if not limits[0] <= value <= limits[1] or not math.isfinite(value):
            raise _CellRefused(name, f"{text} is outside {limits[0]:g} to {limits[1]:g}, the range of {unit}")
        return value

    def count(self, name: str) -> int | None:
        """A whole number above 0, None for an empty cell. Raises _Refused."""
        text = self.cells[name]
        if text and not (text.isdecimal() and int(text)):
            raise _CellRefused(name, f"'{text}' is no count")
        return int(text) if text else None

    def status(self, name: str) -> Status:
        """A status; `read` for an empty cell. Raises _Refused."""
        text = self.cells[name] or "read"
        if text not in get_args(Status):
            raise _CellRefused(name, f"'{text}' is no status. {did_you_mean(text, list(get_args(Status)))}")
        return cast(Status, text)


def read(table: ResultTable, record: ResultTables, folder: Path) -> tuple[Result, ...]:
    """All results of a table, in the file's order.

    Raises BadInput naming file, line and column if the file is missing, its heading differs from the description, a
    row is repeated, or a cell is outside the range of its unit.
    """
    path = folder / table.file
    reader = _Reader(table, {setting.id for setting in record.settings})
    groups: dict[Key, list[_Row]] = {}
    row = None
    try:
        for row in _rows(table, path):
            groups.setdefault(reader.key(row), []).append(row)
        results: list[Result] = []
        for key, rows in groups.items():
            row = rows[0]
            results += reader.results(key, rows)
    except _CellRefused as refused:
        raise BadInput(f"{path}:{row.line if row else 1}: {refused.column}", refused.cause, FIX) from None
    return tuple(results)


def _rows(table: ResultTable, path: Path) -> Iterable[_Row]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            heading, *lines = csv.reader(file)
    except (OSError, ValueError, csv.Error) as error:
        raise BadInput(str(path), f"not a readable table ({error})", "Restore it from git") from error
    if heading != list(table.columns):
        raise BadInput(f"{path}:1", f"columns are {', '.join(heading)}; described: {', '.join(table.columns)}", FIX)
    if len(lines) != table.rows:
        raise BadInput(str(path), f"holds {len(lines)} rows, not the {table.rows} described", FIX)
    for number, line in enumerate(lines, start=2):
        if len(line) != len(heading):
            raise BadInput(f"{path}:{number}", f"has {len(line)} cells, not {len(heading)}", FIX)
        yield _Row(number, dict(zip(heading, line, strict=True)))


class _Reader:
    """Turns the rows of one table into results. Column names by role are looked up once: tables have 5,000 rows."""

    def __init__(self, table: ResultTable, settings: set[str]) -> None:
        self.table, self.settings = table, settings
        self.named: dict[Role, list[str]] = {role: table.having(role) for role in get_args(Role)}
        self.spreads = {table.columns[name].of: name for name in self.named["spread"]}

    def key(self, row: _Row) -> Key:
        """What a row is about. Raises _Refused."""
        table, cells, named = self.table, row.cells, self.named
        setting = table.setting or "-".join([cells[name] for name in named["setting"]])
        if setting not in self.settings:
            hint = did_you_mean(setting, sorted(self.settings))
            raise _CellRefused(named["setting"][0], f"'{setting}' is no setting. {hint}")
        method = table.method or "-".join([cells[name] for name in named["method"]])
        if not method:
            raise _CellRefused(named["method"][0], "no method is named")
        x = None
        for name in named["x"]:
            x = row.number(name, X_RANGES[table.x], table.x)
            if x is not None and density_of(x, table.x) <= 0 and not table.reaches_zero:
                raise _CellRefused(name, "nothing remains at this density")
        return setting, method, x, tuple([(name, cells[name]) for name in named["label"]])

    def results(self, key: Key, rows: Sequence[_Row]) -> list[Result]:
        """The numbers of all rows of one key, which are its runs. Raises _Refused."""
        runs = [row.cells[name] for name in self.named["run"] for row in rows] or [""] * len(rows)
        if len(set(runs)) < len(rows):
            raise _CellRefused(next(iter(self.table.columns)), "the row stands twice")
        found = [result for name in self.named["value"] for result in self._result(key, name, rows)]
        if not found:
            raise _CellRefused(self.named["value"][0], "the row holds no number")
        return found

    def _result(self, key: Key, name: str, rows: Sequence[_Row]) -> list[Result]:
        """The number of one value column; none if it is empty in every row of the key."""
        table, column, first = self.table, self.table.columns[name], rows[0]
        assert column.unit is not None  # a value column has both
        assert column.quantity is not None
        limits = RANGES.get(column.unit, (-math.inf, math.inf))
        values = [value for row in rows if (value := row.number(name, limits, column.unit)) is not None]
        if not values:
            return []
        runs = tuple(values) if self.named["run"] else ()
        mean = math.fsum(values) / len(values)
        spread, kind = (statistics.spread(runs), SAMPLE) if len(runs) > 1 else self._spread(name, first)
        counts = [first.count(n) for n in self.named["n"]]
        status = [first.status(s) for s in self.named["status"]]
        setting, method, x, labels = key
        return [
            Result(
                table=table.name,
                setting=setting,
                method=method,
                x=x,
                density=None if x is None else density_of(x, table.x),
                labels=labels,
                column=name,
                quantity=column.quantity,
                at=column.at,
                unit=column.unit,
                mean=mean,
                spread=spread,
                spread_kind=kind,
                n=len(runs) or next(iter(counts), None) or column.n,
                values=runs,
                status=status[0] if status and table.status == "read" else table.status,
            )
        ]

    def _spread(self, name: str, row: _Row) -> tuple[float | None, SpreadKind | None]:
        """The printed spread of a value column, with its kind."""
        if name not in self.spreads:
            return None, None
        value = row.number(self.spreads[name], (0, math.inf), "a spread")
        return value, None if value is None else self.table.columns[self.spreads[name]].kind


def tables_folder() -> Path:
    """Folder of the result tables that come with the package."""
    return Path(str(resources.files("benchmark"))) / "claims" / "tables"


def read_record(path: Path) -> ResultTables:
    """Settings, tables and gaps in a results file. Raises BadInput."""
    return parse_record(strict_yaml.load_file(path), str(path))


@cache
def _record_of(key: str) -> ResultTables:
    path = tables_folder() / f"{key}.yaml"
    if not path.is_file():
        known = sorted(other.stem for other in tables_folder().glob("*.yaml"))
        raise BadInput(f"paper '{key}'", "nothing is published here under this key", did_you_mean(key, known))
    return read_record(path)


@cache
def results(key: str, name: str) -> tuple[Result, ...]:
    """The rows of one table of a paper. Raises BadInput if there is no such table or its file does not fit."""
    record = _record_of(key)
    names = [table.name for table in record.tables]
    if not names:
        fix = f"What is held: lotterybench info {key}"
        raise BadInput(f"table '{name}' of {key}", "no table of this paper's results is held", fix)
    if name not in names:
        raise BadInput(f"table '{name}' of {key}", "there is no such table", did_you_mean(name, names))
    return read(named(record, name), record, tables_folder())


def forget() -> None:
    """Read every file anew when it is next asked for."""
    _record_of.cache_clear()
    results.cache_clear()


def named(record: ResultTables, name: str) -> ResultTable:
    """The description of one table."""
    return next(table for table in record.tables if table.name == name)
