"""What a command line selects: the results folder of a verb that reads, and protocols and methods by pattern.

Which jobs an order means, and how its workers take them. No torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Literal

from benchmark import protocols
from benchmark.claims.observations import all_gathered
from benchmark.planning.batching import Batch, costs_of, packed
from benchmark.planning.cost import CostModel
from benchmark.planning.open_claims import open_claims, status_of
from benchmark.planning.plan import PlannedJob, only_recorded, plan
from benchmark.planning.priority import wanted, wanted_methods
from benchmark.planning.shards import Shard, part
from benchmark.protocols import Protocol
from benchmark.protocols.cells import method_names, select
from benchmark.records.store import Store
from benchmark.utils.errors import BadInput, did_you_mean
from benchmark.utils.files import DEFAULT_RESULTS


@dataclass(frozen=True)
class Order:
    """The work, as every worker is told.

    `deadline`: a time.monotonic() value, the same in all processes of a machine, which no change of its clock moves.
    `seconds`: a limit that each worker counts from its own start, where it is not known when that will be. `hands`:
    workers that share the work, as far as is known.
    """

    patterns: tuple[str, ...]
    results: Path
    deadline: float | None = None
    seconds: float | None = None
    plugins: tuple[Path, ...] = ()
    retry_failed: bool = False
    like: Path | None = None
    shard: Shard | None = None
    wanted: str | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    hands: int = 1

    def arguments(self) -> list[str]:
        """Of the verb `worker`. Paths are absolute: a worker may start elsewhere."""
        parts = [*self.patterns, "--results", str(self.results.absolute())]
        parts += ["--deadline", str(self.deadline)] if self.deadline is not None else []
        parts += ["--seconds", str(self.seconds)] if self.seconds is not None else []
        parts += [part for path in self.plugins for part in ("--plugin", str(path.absolute()))]
        parts += ["--retry-failed"] if self.retry_failed else []
        parts += ["--like", str(self.like.absolute())] if self.like else []
        parts += ["--for", self.wanted] if self.wanted else []
        parts += ["--device", self.device] if self.device != "cpu" else []
        parts += ["--hands", str(self.hands)] if self.hands > 1 else []
        parts += ["--shard", str(self.shard)] if self.shard else []
        return parts


Selection = list[tuple[Protocol, str]]


def existing_results(results: Path) -> Store:
    """The results folder of a verb that only reads. Raises BadInput if a folder was named that is not there.

    Without `results/` in the working folder nothing is measured yet, which is no mistake.
    """
    if results != DEFAULT_RESULTS and not results.is_dir():
        raise BadInput(str(results), "there is no such results folder", "Correct --results")
    return Store(results)


def _as_it_is(protocol: Protocol) -> Protocol:
    return protocol


def _every_method(protocol: Protocol) -> Collection[str]:
    return method_names(protocol)


def patterns_of(only: Sequence[str]) -> list[str]:
    """Single patterns: ONLY='a b' of a Makefile is one argument, and commas separate too."""
    return [part for given in only for part in re.split(r"[,\s]+", given) if part]


def selection_of(
    only: Sequence[str],
    widened: Callable[[Protocol], Protocol] = _as_it_is,
    meant: Callable[[Protocol], Collection[str]] = _every_method,
) -> Selection:
    """(protocol, method) pairs for patterns such as `lth/*`, `lth/lenet-mnist:imp*` or a protocol file.

    `widened` may add methods to a protocol; `meant` says which methods a pattern without `:METHOD` means.
    Raises BadInput, with the nearest name, for a pattern that matches nothing.
    """
    patterns, widened = patterns_of(only), cache(widened)
    files = [pattern for pattern in patterns if pattern.split(":")[0].endswith((".yaml", ".yml"))]
    known = protocols.load_all()
    selection: dict[tuple[Protocol, str], None] = {}
    for pattern in patterns or ["*"]:
        if pattern in files:
            path, _, method = pattern.partition(":")
            own = protocols.load_file(Path(path))
            matched = select([widened(own)], [f"{own.id}:{method or '*'}"])
        else:
            candidates = [p for p in known if fnmatchcase(p.id, pattern.partition(":")[0])]
            matched = select([widened(p) for p in candidates], [pattern])
        if ":" not in pattern:
            matched = [(protocol, method) for protocol, method in matched if method in meant(protocol)]
        if not matched:
            raise BadInput(f"'{pattern}'", "matches no protocol or method", _hint(pattern, known, widened))
        selection.update(dict.fromkeys(matched))
    return list(selection)


def _hint(pattern: str, known: list[Protocol], widened: Callable[[Protocol], Protocol]) -> str:
    name, _, method = pattern.partition(":")
    for protocol in known:
        if protocol.id == name and method:
            return did_you_mean(method, method_names(widened(protocol)))
    if any(protocol.id.startswith(f"{name}/") for protocol in known):
        return f"For all of them write '{name}/*'"
    return did_you_mean(name, [protocol.id for protocol in known])


def protocols_in(selection: Selection) -> list[Protocol]:
    """The protocols of a selection, each once, in order."""
    return list(dict.fromkeys(protocol for protocol, _ in selection))


def planned_for(order: Order, selection: Selection, store: Store) -> list[PlannedJob]:
    """The jobs that an order means now, in the order in which they are wanted."""
    protocols, store = protocols_in(selection), store.as_it_is()
    seen = all_gathered(protocols, [store])
    if order.wanted:
        from benchmark.claims.verdicts import decide_all

        claims = [status_of(decision) for decision in decide_all(seen)]
    else:
        claims = open_claims(store, seen, order.retry_failed)
    # Of these protocols: what is open decides what is wanted, and by which methods.
    purpose, methods = wanted(claims, protocols, order.wanted), wanted_methods(claims, protocols)
    planned = plan(selection, store, order.retry_failed, methods, purpose, order.device)
    planned = only_recorded(planned, Store(order.like)) if order.like else planned
    return part(planned, selection, order.shard) if order.shard else planned


def batches_for(order: Order, planned: Sequence[PlannedJob], store: Store) -> list[Batch]:
    """How the workers of an order take these jobs, by what is known now of their cost."""
    # What company costs is asked where there is some: a core trains one network after another.
    costs = CostModel() if order.device == "cpu" else costs_of(planned, store)
    return packed(planned, costs, order.device, order.hands)


def affordable(
    selection: Selection, store: Store, budget: float | None, retry_failed: bool, device: str = "cpu"
) -> tuple[Selection, str]:
    """A selection without protocols of which no training can fit `budget` seconds, so that no data is fetched for them;
    those with records first. What was named alone, or has records, stays: its plan says what is missing. Then what
    there is to say of it, if anything.
    """
    begun = {protocol.key: bool(store.records(protocol)) for protocol in protocols_in(selection)}
    too_long = set[str]()
    if budget is not None and len(begun) > 1:
        seconds: dict[str, list[float]] = {}
        for item in plan(selection, store, retry_failed, device=device):
            seconds.setdefault(item.job.protocol.key, []).append(item.seconds / len(item.job.cells))
        too_long = {key for key, each in seconds.items() if min(each) > budget and not begun[key]}
    words = f"Left out: {len(too_long)} protocols of which no single training fits the budget here."
    kept = [pair for pair in selection if pair[0].key not in too_long]
    return sorted(kept, key=lambda pair: not begun[pair[0].key]), words if too_long else ""


def with_data(selection: Selection) -> tuple[Selection, list[str]]:
    """The part of a selection whose data is here or could be fetched, and a sentence for each protocol skipped."""
    from benchmark.datasets.source import obtain_data

    reasons = {protocol.key: obtain_data(protocol) for protocol in protocols_in(selection)}
    usable = [(protocol, method) for protocol, method in selection if reasons[protocol.key] is None]
    return usable, [f"Skipped {key}: {reason}" for key, reason in reasons.items() if reason]
