"""What a command line selects, protocols and methods by pattern, and which jobs that means now. No torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark import protocols
from benchmark.claims.observations import all_gathered
from benchmark.planning.batching import Batch, costs_of, packed
from benchmark.planning.cost import CostModel
from benchmark.planning.narrowed import Narrowed
from benchmark.planning.plan import PlannedJob, Shard, only_recorded, part, plan
from benchmark.planning.priority import Wanted, open_claims, status_of, wanted, wanted_methods
from benchmark.protocols import Protocol
from benchmark.protocols.cells import DENSE, method_names, select, source_cells
from benchmark.records.store import Store
from benchmark.utils.errors import BadInput, EnvironmentProblem, did_you_mean
from benchmark.utils.files import DEFAULT_RESULTS

if TYPE_CHECKING:
    from benchmark.claims.verdicts import Decision
    from benchmark.planning.purchase import Purchases

Selection = list[tuple[Protocol, str]]


def existing_results(results: Path) -> Store:
    """The results folder of a verb that only reads.

    Raises BadInput if it is not there, or holds something else: a wrong working folder is not an empty board.
    """
    refuse_part_of_results(results)
    if not results.is_dir():
        where = f" in {Path.cwd()}" if results == DEFAULT_RESULTS else ""
        hint = "Name one with --results, go to where it is, or measure something: lotterybench run --budget 25m"
        hint = f"Did you mean --results {whole}?" if (whole := _whole_of(results)) else hint
        raise BadInput(str(results), f"there is no such results folder{where}", hint)
    if next(results.glob("*/*@*"), None) is None and any(entry.name != ".work" for entry in results.iterdir()):
        raise BadInput(str(results), "holds no records of any protocol but other files", "Correct --results")
    return Store(results)


def refuse_part_of_results(results: Path) -> None:
    """Raises BadInput for a folder inside a results folder, of a paper or of a protocol: the whole one is meant."""
    if results.is_dir() and (whole := _whole_of(results)):
        raise BadInput(str(results), "is a part of a results folder", f"Did you mean --results {whole}?")


def _whole_of(results: Path) -> Path | None:
    """The results folder that a folder is a part of, or would be if it were there."""
    place = results.absolute()
    if "@" in place.name and not any(place.glob("*/*@*")):
        return results.parent.parent
    if any(place.glob("*@*")) or (not place.exists() and any(place.parent.glob("*/*@*"))):
        return results.parent
    return None


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


def with_sources(selection: Selection) -> Selection:
    """The same selection, and in front of it what its methods with `masks_from` take masks from, if not selected."""
    selected = {(protocol.key, method) for protocol, method in selection}
    added: dict[tuple[str, str], tuple[Protocol, str]] = {}
    for pair in selection:
        for source, cells in source_cells(*pair).items():
            for method in (DENSE, *sorted({cell.method for cell in cells} - {DENSE})):
                if (source.key, method) not in selected:
                    added[source.key, method] = (source, method)
    return [*added.values(), *selection]


def _hint(pattern: str, known: list[Protocol], widened: Callable[[Protocol], Protocol]) -> str:
    name, _, method = pattern.partition(":")
    for protocol in known:
        if protocol.id == name and method:
            return did_you_mean(method, method_names(widened(protocol)))
    if any(protocol.id.startswith(f"{name}/") for protocol in known):
        return f"For all of them write '{name}/*{f':{method}' if method else ''}'"
    return did_you_mean(name, [protocol.id for protocol in known])


def protocols_in(selection: Selection) -> list[Protocol]:
    """The protocols of a selection, each once, in order."""
    return list(dict.fromkeys(protocol for protocol, _ in selection))


def planned_for(  # noqa: PLR0913 - one for each choice of the command line
    selection: Selection,
    store: Store,
    *,
    retry_failed: bool = False,
    wanted_for: str | None = None,
    bought: Wanted | None = None,
    device: str = "cpu",
    like: Store | None = None,
    shard: Shard | None = None,
    narrowed: Narrowed | None = None,
) -> list[PlannedJob]:
    """The unfinished jobs of a selection, in the order in which open claims want them.

    `wanted_for`: only what this claim, paper or method needs. `bought`: only these cells, in their order.
    `like`: only cells that are finished in that folder. `narrowed`: only these seeds and levels. Raises BadInput if
    nothing that is selected has any of them.
    """
    if narrowed:
        narrowed.refuse_none(selection)
    chosen, store = protocols_in(selection), store.as_it_is()
    if wanted_for:
        claims = [status_of(decision) for decision in _decided_on(chosen, store)]
    else:
        claims = open_claims(store, all_gathered(chosen, [store]), retry_failed)
    priority, methods = bought or wanted(claims, chosen, wanted_for), wanted_methods(claims, chosen)
    planned = plan(selection, store, retry_failed, methods, priority, device)
    planned = only_recorded(planned, like) if like else planned
    planned = narrowed.of(planned) if narrowed else planned
    return part(planned, selection, shard) if shard else planned


def _decided_on(chosen: Sequence[Protocol], store: Store) -> list[Decision]:
    """Every claim on one of these, whatever other protocol it compares that with."""
    from benchmark.claims import papers
    from benchmark.claims.verdicts import decide_all

    ours = {protocol.id for protocol in chosen}
    on_ours = [claim.cells for paper in papers.load_all() for claim in paper.claims if not ours.isdisjoint(claim.cells)]
    beside = map(protocols.load, sorted({name for cells in on_ours for name in cells} - ours))
    decided = decide_all(all_gathered([*chosen, *beside], [store]))
    return [decision for decision in decided if not ours.isdisjoint(decision.cells)]


def verdicts_for(
    selection: Selection,
    store: Store,
    seconds: float | None,
    device: str = "cpu",
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Purchases:
    """What so many seconds of all workers should buy of a selection's verdicts, from what can be trained here now:
    protocols whose data would have to be fetched are left out.
    """
    from benchmark.datasets.source import data_root, needs_download
    from benchmark.planning.purchase import purchases

    store = store.as_it_is()
    here = [p for p in protocols_in(selection) if not needs_download(p.data.name, data_root())]
    return purchases(all_gathered(here, [store]), store, seconds, device, progress)


def batches_for(planned: Sequence[PlannedJob], store: Store, device: str = "cpu", workers: int = 1) -> list[Batch]:
    """How `workers` take these jobs, by what is known now of their cost."""
    # A core trains one network after another: no need to know what a replica group takes.
    costs = CostModel() if device == "cpu" else costs_of(planned, store)
    return packed(planned, costs, device, workers)


def begun_first(selection: Selection, store: Store) -> Selection:
    """The same selection, protocols with records in front."""
    begun = {protocol.key: bool(store.records(protocol)) for protocol in protocols_in(selection)}
    return sorted(selection, key=lambda pair: not begun[pair[0].key])


def too_long_for(planned: Sequence[PlannedJob], selection: Selection, store: Store, budget: float | None) -> set[str]:
    """Keys of protocols without records of which no single training fits `budget` seconds: no data is fetched for them.

    What was named alone, or has records, is none of these: its plan says what is missing.
    """
    known = protocols_in(selection)
    if budget is None or len(known) < 2:
        return set()
    seconds: dict[str, list[float]] = {}
    for item in planned:
        seconds.setdefault(item.job.protocol.key, []).append(item.seconds / len(item.job.cells))
    begun = {protocol.key for protocol in known if store.records(protocol)}
    return {key for key, each in seconds.items() if min(each) > budget} - begun


def with_data(selection: Selection) -> tuple[Selection, dict[str, EnvironmentProblem]]:
    """The part of a selection whose data is here or could be fetched, and what went wrong with others, by data set.

    Each data set is fetched once, however many protocols name it.
    """
    from benchmark.datasets.source import obtain_data

    names = dict.fromkeys(protocol.data.name for protocol in protocols_in(selection))
    missing = {name: problem for name in names if (problem := obtain_data(name))}
    return [pair for pair in selection if pair[0].data.name not in missing], missing
