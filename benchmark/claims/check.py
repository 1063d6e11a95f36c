"""Whether claims fit the protocols that decide them and the result tables that their numbers are from.

Versions, methods, levels, layers and metrics must exist: a rule with a typing error would stay "not measured" for ever
without anybody noticing. Numbers must be those of the tables, and such that a verdict may rest on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter

from benchmark import protocols
from benchmark.claims.published import Claim, Published
from benchmark.claims.rules.base import FIX_TARGET, TargetTable
from benchmark.claims.tables import Result, ResultTable, ResultTables, why_no_target
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, method_names
from benchmark.protocols.methods import MethodSpec
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
        yield from _unmeasured(protocol, method, [level for _, level in own_cells])
    for rule in claim.checks if own else ():
        yield from rule.misfits(protocol)
        if rule.compares_runs and protocol.paper.key != paper:
            yield f"compares runs of {protocol.paper.key}'s protocol with a table of {paper}"


def _unmeasured(protocol: Protocol, method: str, levels: Sequence[int]) -> Iterator[str]:
    if method == DENSE:
        if any(levels):
            yield f"names dense at level {max(levels)}; the dense network is level 0"
        return
    known = [name for name in method_names(protocol) if name in protocol.methods]
    if method not in known:
        yield f"{protocol.id} has no method '{method}'. {did_you_mean(method, known)}"
        return
    measured, spec = protocol.measured_levels(method), protocol.method(method)
    for level in levels:
        if level not in measured:
            yield f"{protocol.id} does not measure {method} at level {level}"
        elif isinstance(spec, MethodSpec) and level in spec.later:
            yield f"{protocol.id} measures {method} at level {level} only after all else"


Reader = Callable[[str], Sequence[Result]]  # of a table, by its name


def refers_to_tables(paper: Published) -> bool:
    """Whether any rule takes its numbers from a result table."""
    return any(rule.target_table is not None for claim in paper.claims for rule in claim.checks)


def check_targets(paper: Published, record: ResultTables, name: str, read: Reader) -> None:
    """Refuse a rule that rests on a table or row that is secondary, quoted, unverified, contradicted or no target.

    Refuses numbers that differ from the row they refer to, too. Raises BadInput naming the claim.
    """
    for claim in paper.claims:
        for rule in claim.checks:
            if rule.target_table is None:
                continue
            table = _table(claim, name, record, rule.target_table)
            source = paper.source(table.read_from)
            if why := why_no_target(source, table.status):
                raise BadInput(f"{name}: {claim.id}", f"a rule rests on table '{table.name}', but {why}", FIX_TARGET)
            target = TargetTable(table, source, read(table.name))
            if misfit := rule.target_misfit(target, protocols.load(claim.protocol)):
                raise BadInput(f"{name}: {claim.id}", *misfit)


def _table(claim: Claim, name: str, record: ResultTables, wanted: str) -> ResultTable:
    for table in record.tables:
        if table.name == wanted:
            return table
    known = [table.name for table in record.tables]
    raise BadInput(f"{name}: {claim.id}", f"there is no table '{wanted}'", did_you_mean(wanted, known))
