"""Which jobs a worker takes at once, and how long that takes. No torch.

A core trains one network after another. A GPU is given many side by side: `packed` says which, `side_by_side` does it
and `estimate` foresees it, all by the same few rules. A batch is what is equally wanted of one protocol, dense networks
in front of what starts from them. A worker has up to `width` of its jobs in hand, and takes the next when one has
ended. Where fewer are left than a GPU trains in the time of one, less wanted jobs of the protocol ride along.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmark.planning.cost import CostModel, Wall, nearly_free, round_seconds, this_device
from benchmark.planning.plan import PlannedJob
from benchmark.protocols.cells import DENSE, train_steps
from benchmark.records.store import Store


@dataclass(frozen=True)
class Batch:
    """Jobs of one protocol in the order in which they are taken, `width` side by side at most.

    `most`: up to how many if more turn out to be faster, as `widths` finds out; `exploring`: whether `width` is more
    than was ever measured. `backfill`: jobs that are taken only while one of `jobs` is in hand, up to `backfill_width`
    networks in all. `wall`: None on a core.
    """

    jobs: tuple[PlannedJob, ...]
    backfill: tuple[PlannedJob, ...] = ()
    width: int = 1
    backfill_width: int = 1
    wall: Wall | None = None
    most: int = 0
    exploring: bool = False


def costs_of(planned: Sequence[PlannedJob], store: Store) -> CostModel:
    """What the records of a plan's protocols say of its cost."""
    protocols = {item.job.protocol.key: item.job.protocol for item in planned}
    return CostModel.learn({protocol: store.records(protocol) for protocol in protocols.values()})


def packed(planned: Sequence[PlannedJob], costs: CostModel, device: str = "cpu", workers: int = 1) -> list[Batch]:
    """A plan in batches for a device, cpu or cuda, most wanted first.

    `workers` share the plan; none is to take what keeps the others busy.
    """
    if device == "cpu":
        return [Batch((item,)) for item in planned]
    groups = _groups(planned)
    keys = list(groups)
    batches = []
    for place, (tier, protocol_key, stage, alone) in enumerate(keys):
        jobs = groups[tier, protocol_key, stage, alone]
        if not jobs[0].job.protocol.trains:
            batches.append(Batch(tuple(jobs)))
            continue
        later = [key for key in keys[place + 1 :] if key[1:3] == (protocol_key, stage)]
        backfill = [item for key in later for item in groups[key]]
        wall = costs.wall(jobs[0].job.protocol, this_device(device))
        share, all_share = (max(1, -(-count // workers)) for count in (len(jobs), len(jobs) + len(backfill)))
        widths = costs.widths(jobs[0].job.protocol, this_device(device))
        width, backfill_width = min(widths.width, share), min(nearly_free(wall), all_share)
        batches.append(Batch(tuple(jobs), tuple(backfill), width, backfill_width, wall, share, widths.exploring))
    return batches


Key = tuple[int, str, bool, int]


def _groups(planned: Sequence[PlannedJob]) -> dict[Key, list[PlannedJob]]:
    """Jobs by tier, protocol and whether they are of pruned networks, in order; masks without training each alone."""
    groups: dict[Key, list[PlannedJob]] = {}
    first: dict[tuple[int, str], int] = {}
    for place, item in enumerate(planned):
        protocol = item.job.protocol
        first.setdefault((item.tier, protocol.key), place)
        alone = 0 if protocol.trains else place
        groups.setdefault((item.tier, protocol.key, item.job.method != DENSE, alone), []).append(item)
    order = sorted(groups, key=lambda key: (key[0], first[key[:2]], key[2], key[3]))
    return {key: groups[key] for key in order}


@dataclass(frozen=True)
class PlanEstimate:
    """How many cells of each job, in the order of the plan, are done in time, and when the last is, in seconds."""

    cells: tuple[int, ...]
    seconds: float


def estimate(
    planned: Sequence[PlannedJob], batches: Sequence[Batch], workers: int = 1, budget: float | None = None
) -> PlanEstimate:
    """What `workers` do with a plan in `budget` seconds, by the cost model; the run itself looks at the clock.

    Left out: making masks, and that a control waits for the chain whose masks it takes.
    """
    entries = {id(item): _JobProgress(item) for item in planned}
    simulated = [_Worker(batches, entries) for _ in range(workers)]
    clock, ended = [(0.0, number) for number in range(workers)], 0.0
    while clock:
        now, number = heapq.heappop(clock)
        seconds = simulated[number].begins(None if budget is None else budget - now)
        if seconds is not None:
            ended = max(ended, now + seconds)
            heapq.heappush(clock, (now + seconds, number))
    return PlanEstimate(tuple(entries[id(item)].done for item in planned), ended)


@dataclass
class _JobProgress:
    """A job, whether a worker is at it, and how many of its cells are done."""

    item: PlannedJob
    taken: bool = False
    done: int = 0

    @property
    def over(self) -> bool:
        return self.done == len(self.item.job.cells)

    @property
    def steps(self) -> int:
        """Updates of the next cell."""
        return train_steps(self.item.job.protocol, self.item.job.cells[self.done])


class _Worker:
    """One of those who share the entries: goes through the batches, and in each from round to round."""

    def __init__(self, batches: Sequence[Batch], entries: Mapping[int, _JobProgress]) -> None:
        self._batches, self._entries = iter(batches), entries
        self._batch: Batch | None = next(self._batches, None)
        self._peers, self._backfill = list[_JobProgress](), list[_JobProgress]()

    def begins(self, left: float | None) -> float | None:
        """Seconds of the next round that fits those left; None if there is none, ever."""
        self._peers, self._backfill = _going_on(self._peers), _going_on(self._backfill)
        while self._batch is not None:
            batch = self._batch
            self._take(batch.jobs, self._peers, batch.width - len(self._peers))
            if self._peers:
                self._take(
                    batch.backfill, self._backfill, batch.backfill_width - len(self._peers) - len(self._backfill)
                )
                seconds = self._round(batch, self._peers + self._backfill, left)
                if seconds is not None:
                    return seconds
            for entry in self._peers + self._backfill:
                entry.taken = False
            self._peers, self._backfill, self._batch = [], [], next(self._batches, None)
        return None

    def _take(self, items: Iterable[PlannedJob], entries: list[_JobProgress], room: int) -> None:
        for item in items:
            if room <= 0:
                return
            entry = self._entries[id(item)]
            if not entry.taken and not entry.over:
                entry.taken = True
                entries.append(entry)
                room -= 1

    @staticmethod
    def _round(batch: Batch, entries: Sequence[_JobProgress], left: float | None) -> float | None:
        """Train the next cell of as many as fit the time, in order; seconds, None if not even one fits."""
        for count in range(len(entries), 0, -1):
            seconds = _seconds(batch, entries[:count])
            if left is None or seconds <= left:
                for entry in entries[:count]:
                    entry.done += 1
                return seconds
        return None


def _going_on(entries: Iterable[_JobProgress]) -> list[_JobProgress]:
    return [entry for entry in entries if not entry.over]


def _seconds(batch: Batch, entries: Sequence[_JobProgress]) -> float:
    if batch.wall is None:
        return sum(entry.item.seconds / len(entry.item.job.cells) for entry in entries)
    return round_seconds(batch.wall, [entry.steps for entry in entries])
