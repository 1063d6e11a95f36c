"""What `status` knows: what is done, running, failed and missing, what verdicts still cost, where the logs are.

A function of the results folder and of what Slurm says. No torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmark.claims.observations import Observations
from benchmark.claims.verdicts import decide_all
from benchmark.cli.terminal import unit_of
from benchmark.harness.executors.slurm import states, submissions
from benchmark.planning.cost import CostModel, this_device
from benchmark.planning.plan import Job, expected_seconds
from benchmark.planning.priority import cells_needed
from benchmark.planning.select import Selection, protocols_in
from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell, cells_of
from benchmark.records.leases import Holder
from benchmark.records.schema import Record
from benchmark.records.store import Store

Done = dict[tuple[str, int, int, int], str]
Hours = Callable[[Sequence[Cell]], float]


def progress_document(store: Store, selection: Selection, device: str = "cpu") -> dict[str, Any]:
    """The whole of `status` as plain JSON types. Hours are of one core of this machine, or of its GPU: `device`."""
    records = {protocol: store.records(protocol) for protocol in protocols_in(selection)}
    costs, place, unit = CostModel.learn(records), this_device(device), unit_of(device).lower()
    known = {protocol: _done(own) for protocol, own in records.items()}
    hours = {protocol: _hours(expected_seconds(protocol, own, costs, place)) for protocol, own in records.items()}
    document: dict[str, Any] = {"methods": [], "costs": [], "claims": [], "workers": [], "submissions": []}
    for protocol, done in known.items():
        holders = {holder.name: holder for holder in store.leases(protocol).holders()}
        for method in (m for p, m in selection if p.key == protocol.key):
            cells = cells_of(protocol, method)
            found = [_state(cell, done, protocol, holders) for cell in cells]
            left = [cell for cell, state in zip(cells, found, strict=True) if state in ("missing", "running")]
            counted = Counter(found)
            document["methods"].append(
                {
                    "protocol": protocol.id,
                    "method": method,
                    **{word: counted[word] for word in ("finished", "running", "failed", "missing")},
                    f"{unit}_hours_left": hours[protocol](left),
                }
            )
        error = costs.error(protocol, place)
        document["costs"].append(
            {
                "protocol": protocol.id,
                "seconds_per_step": costs.share(protocol, place),
                "records": error.count if error else 0,
                "error": error.middle if error else None,
                "error_90": error.ninetieth if error else None,
                **({"side_by_side": str(costs.widths(protocol, place))} if device == "cuda" else {}),
            }
        )
        document["workers"] += [
            {"protocol": protocol.id, "job": holder.name, **{k: holder.facts.get(k) for k in ("host", "pid", "log")}}
            for holder in holders.values()
        ]
    document["claims"] = _claims(records, known, hours, unit)
    found_states = states([each.job for each in submissions(store)]) or {}
    for each in submissions(store):
        mine = Counter(state for task, state in found_states.items() if task.split("_")[0] == each.job)
        document["submissions"].append({**each.__dict__, "states": dict(mine)})
    return document


def _done(records: Sequence[Record]) -> Done:
    return {(r.method.name, r.cell.level, r.cell.seed, r.cell.draw): r.status for r in records}


def _state(cell: Cell, done: Done, protocol: Protocol, holders: dict[str, Holder]) -> str:
    found = done.get((cell.method, cell.level, cell.seed, cell.draw))
    if found is not None:
        return found
    return "running" if Job(protocol, (cell,)).name in holders else "missing"


def _hours(expected: Callable[[Sequence[Cell]], float]) -> Hours:
    return lambda cells: round(expected(cells) / 3600, 2)


def _claims(
    records: Mapping[Protocol, Sequence[Record]],
    known: Mapping[Protocol, Done],
    hours: Mapping[Protocol, Hours],
    unit: str,
) -> list[dict[str, Any]]:
    """Every claim of these protocols with what its planned cells still cost."""
    by_id = {protocol.id: protocol for protocol in records}
    found = []
    for decision in decide_all({protocol.id: Observations(protocol, own) for protocol, own in records.items()}):
        cells, cost = 0, 0.0
        for protocol in [by_id[name] for name in decision.cells]:
            needed = cells_needed(decision, protocol)
            left = [cell for cell in needed if (cell.method, cell.level, cell.seed, cell.draw) not in known[protocol]]
            cells += len(left)
            cost += hours[protocol](left)
        found.append(
            {
                "claim": decision.claim,
                "verdict": decision.spoken_verdict,
                "cells_left": cells,
                f"{unit}_hours_left": cost,
                "seeds_still_needed": decision.seeds_still_needed,
            }
        )
    return found
