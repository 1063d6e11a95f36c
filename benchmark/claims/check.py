"""Whether the numbers of a paper's rules are those of its result tables, and whether they may be targets. No torch.

Whether claims fit the protocols that decide them: version, methods, levels, layers and metrics exist. No torch.

A rule with a typing error would stay "not measured" for ever, and nobody would see why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import get_args

from benchmark import protocols
from benchmark.claims.published import Claim, Published
from benchmark.claims.rules.accuracy import TAKEN, Curve, LayerShare, Rule, Value, percent_accuracy, runs_by_level
from benchmark.claims.rules.base import Sample, TableRow, listed
from benchmark.claims.rules.masks import Collapse, LayerDensity
from benchmark.claims.tables import Record, Result, Table, why_no_target
from benchmark.protocols import Protocol, load
from benchmark.protocols.cells import DENSE
from benchmark.protocols.methods import ControlSpec
from benchmark.records.schema import MaskMetric, Metric
from benchmark.utils.errors import BadInput, did_you_mean

FIX_MISFIT = "`lotterybench info PROTOCOL` lists methods and levels; what no protocol measures stands under not_decided"


def check_fits(paper: Published, name: str) -> None:
    """Refuse a claim on a protocol, version, method, level, layer or metric that does not exist. Raises BadInput."""
    known, load = protocols.available(), cache(protocols.load)
    for claim in paper.claims:
        for protocol, cells in claim.cells.items():
            if protocol not in known:
                hint = did_you_mean(protocol, known)
                raise BadInput(f"{name}: {claim.id}", f"there is no protocol '{protocol}'", hint)
            for why in _misfits(claim, paper.paper.key, load(protocol), cells):
                raise BadInput(f"{name}: {claim.id}", why, FIX_MISFIT)


def _misfits(claim: Claim, paper: str, protocol: Protocol, cells: tuple[tuple[str, int], ...]) -> Iterator[str]:
    own = protocol.id == claim.protocol
    if own and protocol.version != claim.version:
        yield f"is written for {claim.protocol}@{claim.version}, and the protocol is now {protocol.key}"
    for method, own_cells in groupby(cells, key=itemgetter(0)):  # they are sorted
        yield from _levels(protocol, method, [level for _, level in own_cells])
    for rule in claim.checks if own else ():
        yield from _rule(protocol, rule)
        if isinstance(rule, Curve | Collapse | LayerDensity) and protocol.paper.key != paper:
            yield f"compares runs of {protocol.paper.key}'s protocol with a table of {paper}"


def _levels(protocol: Protocol, method: str, levels: Sequence[int]) -> Iterator[str]:
    if method == DENSE:
        if any(levels):
            yield f"names dense at level {max(levels)}; the dense network is level 0"
        return
    if method not in protocol.methods:
        yield f"{protocol.id} has no method '{method}'. {did_you_mean(method, list(protocol.methods))}"
        return
    measured, spec = protocol.measured_levels(method), protocol.method(method)
    for level in levels:
        if level not in measured:
            yield f"{protocol.id} does not measure {method} at level {level}"
        elif not isinstance(spec, ControlSpec) and level in spec.later:
            yield f"{protocol.id} measures {method} at level {level} only after all else"


def _rule(protocol: Protocol, rule: Rule) -> Iterator[str]:
    if isinstance(rule, LayerShare):
        for layer in rule.layers:
            if layer not in protocol.pruning.layer_sizes:
                yield f"{protocol.id} has no layer '{layer}'. {did_you_mean(layer, list(protocol.pruning.layer_sizes))}"
    elif protocol.trains == (rule.metric in get_args(MaskMetric)):
        yield f"{protocol.id} {'trains networks' if protocol.trains else 'trains nothing'}, so it has no {rule.metric}"
    elif rule.metric.startswith("early-stop") and protocol.evaluation.early_stop == "none":
        yield f"{protocol.id} has no early stopping, so it has no {rule.metric}"


Reader = Callable[[str], Sequence[Result]]  # of a table, by its name
FIX = "Name a row that may be a target, with its numbers, or list the claim under not_decided"


def refers_to_tables(paper: Published) -> bool:
    """Whether any rule takes its numbers from a result table."""
    rules = [rule for claim in paper.claims for rule in claim.checks]
    return any(isinstance(rule, Curve) or _sample(rule) or _layers(rule) for rule in rules)


def check_targets(paper: Published, record: Record, name: str, read: Reader) -> None:
    """Refuse a rule that rests on a table or row that is secondary, quoted, unverified, contradicted or no target.

    Refuses numbers that differ from the row they refer to, too. Raises BadInput naming the claim.
    """
    for claim in paper.claims:
        for rule in claim.checks:
            if isinstance(rule, Curve):
                _check_curve(paper, claim, name, record, rule, read)
            if sample := _sample(rule):
                _check_sample(paper, claim, name, record, (rule.metric, sample), read)
            if layers := _layers(rule):
                _check_layers(paper, claim, name, _table(claim, name, record, layers[0]), layers[1], read)


def _layers(rule: Rule) -> tuple[str, str] | None:
    """(table, method) whose densities by layer a rule compares with."""
    return (rule.table, rule.published) if isinstance(rule, Collapse | LayerDensity) else None


def _check_layers(paper: Published, claim: Claim, name: str, table: Table, method: str, read: Reader) -> None:
    _refuse(paper, claim, name, table, table.status)
    known = {row.method for row in read(table.name) if row.quantity == "layer-density" and len(row.values) > 1}
    if method not in known:
        cause = f"table '{table.name}' holds no runs of densities by layer of '{method}'"
        raise BadInput(f"{name}: {claim.id}", cause, did_you_mean(method, sorted(known)))


def _check_curve(paper: Published, claim: Claim, name: str, record: Record, rule: Curve, read: Reader) -> None:
    """Every level of a curve has runs, and enough of them to know their spread."""
    table = _table(claim, name, record, rule.table)
    _refuse(paper, claim, name, table, table.status)
    rows = read(table.name)
    methods = sorted({row.method for row in rows if row.setting == rule.setting})
    for method in rule.published:
        if method not in methods:
            cause = f"table '{table.name}' has no '{method}' of setting '{rule.setting}'"
            raise BadInput(f"{name}: {claim.id}", cause, did_you_mean(method, methods))
    found = runs_by_level(rows, load(claim.protocol), rule)
    for level in listed(rule.of.levels):
        if len(found.get(level, ())) < 2:
            cause = f"table '{table.name}' has fewer than two runs for {rule.metric} at level {level}"
            raise BadInput(f"{name}: {claim.id}", cause, FIX)


def _sample(rule: Rule) -> Sample | None:
    return rule.published if isinstance(rule, Value) and rule.published.row is not None else None


def _table(claim: Claim, name: str, record: Record, wanted: str) -> Table:
    for table in record.tables:
        if table.name == wanted:
            return table
    known = [table.name for table in record.tables]
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
    table = _table(claim, name, record, wanted.table)
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
        values = [percent_accuracy(value, row) for value in row.values]
        return None if _close(sample.values, values) else f"values {sample.values} are {tuple(values)}"
    mean = percent_accuracy(row.mean, row)
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


def _close(a: Sequence[float], b: Sequence[float]) -> bool:
    return len(a) == len(b) and all(math.isclose(x, y, abs_tol=5e-5) for x, y in zip(a, b, strict=True))
