"""Whether the numbers of a paper's rules are those of its result tables, and whether they may be targets. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from benchmark.errors import BadInput, did_you_mean
from benchmark.published.claims import Claim, Published
from benchmark.published.mask_rules import Collapse, LayerDensity
from benchmark.published.record import Moment, Record, Table
from benchmark.published.rules import Curve, Metric, Rule, Sample, TableRow, Value
from benchmark.published.tables import Result
from benchmark.published.trust import why_no_target

Reader = Callable[[str], Sequence[Result]]  # of a table, by its name
TAKEN: Mapping[Metric, Moment] = {
    "last-accuracy": "last",
    "best-accuracy": "best-test",
    "early-stop-accuracy": "early-stop",
}
FIX = "Name a row that may be a target, with its numbers, or list the claim under not_decided"


def refers_to_tables(paper: Published) -> bool:
    """Whether any rule takes its numbers from a result table."""
    return any(_curve(rule) or _sample(rule) or _layers(rule) for claim in paper.claims for rule in claim.checks)


def check_targets(paper: Published, record: Record, name: str, read: Reader) -> None:
    """Refuse a rule that rests on a table or row that is secondary, quoted, unverified, contradicted or no target.

    Refuses numbers that differ from the row they refer to, too. Raises BadInput naming the claim.
    """
    for claim in paper.claims:
        for rule in claim.checks:
            if curve := _curve(rule):
                table = _table(claim, name, record, "file", curve)
                _refuse(paper, claim, name, table, table.status)
            if sample := _sample(rule):
                _check_sample(paper, claim, name, record, (rule.metric, sample), read)
            if layers := _layers(rule):
                _check_layers(paper, claim, name, _table(claim, name, record, "name", layers[0]), layers[1], read)


def _layers(rule: Rule) -> tuple[str, str] | None:
    """(table, method) whose densities by layer a rule compares with."""
    return (rule.table, rule.published) if isinstance(rule, Collapse | LayerDensity) else None


def _check_layers(paper: Published, claim: Claim, name: str, table: Table, method: str, read: Reader) -> None:
    _refuse(paper, claim, name, table, table.status)
    known = {row.method for row in read(table.name) if row.quantity == "layer-density" and len(row.values) > 1}
    if method not in known:
        cause = f"table '{table.name}' holds no runs of densities by layer of '{method}'"
        raise BadInput(f"{name}: {claim.id}", cause, did_you_mean(method, sorted(known)))


def _curve(rule: Rule) -> str | None:
    return rule.table if isinstance(rule, Curve) else None


def _sample(rule: Rule) -> Sample | None:
    return rule.published if isinstance(rule, Value) and rule.published.row is not None else None


def _table(claim: Claim, name: str, record: Record, field: str, wanted: str) -> Table:
    for table in record.tables:
        if getattr(table, field) == wanted:
            return table
    known = [getattr(table, field) for table in record.tables]
    raise BadInput(f"{name}: {claim.id}", f"there is no table '{wanted}'", did_you_mean(wanted, known))


def _refuse(paper: Published, claim: Claim, name: str, table: Table, status: str) -> None:
    if why := why_no_target(paper.source(table.read_from), status):  # type: ignore[arg-type]
        raise BadInput(f"{name}: {claim.id}", f"a rule rests on table '{table.name}', but {why}", FIX)


def _check_sample(
    paper: Published, claim: Claim, name: str, record: Record, of: tuple[Metric, Sample], read: Reader
) -> None:
    metric, sample = of
    wanted = sample.row
    assert wanted is not None
    table = _table(claim, name, record, "name", wanted.table)
    _refuse(paper, claim, name, table, table.status)
    found = [result for result in read(table.name) if _is(result, wanted)]
    if len(found) != 1:
        raise BadInput(f"{name}: {claim.id}", f"{len(found)} rows of '{table.name}' are {wanted.words}", FIX)
    (row,) = found
    _refuse(paper, claim, name, table, row.status)
    if why := _differs(metric, sample, row):
        raise BadInput(f"{name}: {claim.id}", f"{why} in {table.source} ({wanted.words})", FIX)


def _is(result: Result, row: TableRow) -> bool:
    return (
        (result.setting, result.method, result.x) == (row.setting, row.method, row.x)
        and row.column in (None, result.column)
        and row.labels.items() <= dict(result.labels).items()
    )


def _differs(metric: Metric, sample: Sample, row: Result) -> str | None:
    """What of a sample is not what the row says; None if all is. Accuracies of a sample are in percent."""
    if row.quantity not in ("test-accuracy", "test-error") or metric not in TAKEN:
        return f"{metric} is compared with {row.quantity}"
    if row.at not in (TAKEN[metric], "not-stated"):
        return f"{metric} is compared with a number taken at '{row.at}'"
    if sample.values is not None:
        values = [_percent_accuracy(value, row) for value in row.values]
        return None if _close(sample.values, values) else f"values {sample.values} are {tuple(values)}"
    mean = _percent_accuracy(row.mean, row)
    if sample.mean is None or not _close([sample.mean], [mean]):
        return f"mean {sample.mean} is {mean:g}"
    return _spread_differs(sample, row)


def _spread_differs(sample: Sample, row: Result) -> str | None:
    if sample.sd is not None:
        if row.spread is None or row.spread_kind not in ("sd", "sample-sd"):
            return f"sd {sample.sd} is no standard deviation but {row.spread_kind}"
        sd = 100 * row.spread if row.unit == "fraction" else row.spread
        if not _close([sample.sd], [sd]):
            return f"sd {sample.sd} is {sd:g}"
    return f"n {sample.n} is {row.n or 'not stated'}" if sample.n not in (None, row.n) else None


def _percent_accuracy(value: float, row: Result) -> float:
    percent = 100 * value if row.unit == "fraction" else value
    return 100 - percent if row.quantity == "test-error" else percent


def _close(a: Sequence[float], b: Sequence[float]) -> bool:
    return len(a) == len(b) and all(math.isclose(x, y, abs_tol=5e-5) for x, y in zip(a, b, strict=True))
