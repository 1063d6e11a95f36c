"""What a cell should cost: seconds per update, from floating-point operations until records say it better. No torch.

On a GPU networks are trained side by side, so what an update takes depends on the size of the replica group. Which size
is best is found by trying, and remembered in records: layers that leave a GPU idle alone fill it together, and whether
sixteen are faster than eight depends on the network, the GPU and its memory. So as long as throughput rose by a tenth
when the group was last doubled, it is doubled again; then the smallest group that comes near the best is used.

Seconds of an update are those of a network with all its weights. Where fewer weights take less, by the portable kernels
on a CPU, a record counts with what its update would have taken with all of them; see `savings`.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import log
from statistics import median

from benchmark.planning.savings import NOTHING, Saving, density_of, expected_saving, fitted
from benchmark.protocols import Protocol
from benchmark.protocols.cells import Cell
from benchmark.protocols.recipe import DATASETS
from benchmark.records.provenance import cpu_name
from benchmark.records.schema import CostFacts, Record
from benchmark.utils.hardware import gpu_name

# Only used before anything was measured. Operations per second: of one core in small matrix products, by torch and by
# the portable kernels (docs/portable.md: 1.6 and 1.8 times as fast), of a GPU in kernels of the size that these
# networks have. Seconds per layer: on a GPU no update is shorter than the starts of its
# kernels.
FLOPS_PER_SECOND = 3.0e10
PORTABLE_FLOPS_PER_SECOND = 6.0e10
GPU_FLOPS_PER_SECOND = 2.0e13
GPU_SECONDS_PER_LAYER = 3.0e-5

Seen = Mapping[int, Sequence[float]]
Wall = Callable[[int], float]
"""Seconds of one update of a replica group, by its size."""

MOST = 64  # networks that are tried side by side
RISE = 1.1  # times the throughput that makes a further doubling worth trying
NEARLY = 0.9  # of the best throughput; a larger group only ends later, and loses more if it is killed


@dataclass(frozen=True)
class Widths:
    """What is known of one protocol on one device: seconds of an update by the size of the group.

    `first`: the size to begin with, a guess. `too_many`: the fewest that did not fit into memory.
    """

    seconds: Mapping[int, float] = field(default_factory=dict)
    first: int = 1
    too_many: int | None = None

    @property
    def most(self) -> int:
        """No more fit, as far as is known."""
        return MOST if self.too_many is None else max(1, min(MOST, self.too_many - 1))

    @property
    def exploring(self) -> bool:
        """Whether a larger group than any so far is to be tried."""
        return bool(self.seconds) and self.width > max(self.seconds)

    @property
    def width(self) -> int:
        """How many to train side by side next."""
        if not self.seconds:
            return min(self.first, self.most)
        rates = {size: size / took for size, took in self.seconds.items() if took > 0}
        if not rates:
            return min(self.first, self.most)
        widest = max(rates)
        narrower = max((rate for size, rate in rates.items() if size <= widest / 2), default=0.0)
        if rates[widest] >= RISE * narrower and 2 * widest <= self.most:
            return 2 * widest
        best = max(rates.values())
        enough = [size for size, rate in rates.items() if rate >= NEARLY * best]
        return min(*enough, self.most)

    def __str__(self) -> str:
        """In words, for people: `8, exploring; 16 did not fit`."""
        how = "" if self.seconds and not self.exploring else ", exploring" if self.seconds else ", to begin with"
        return f"{self.width}{how}{f'; {self.too_many} did not fit' if self.too_many else ''}"

    def measured(self, size: int, seconds: float, too_many: int | None = None) -> Widths:
        """With one more group: what an update of it took, and how many had not fitted before."""
        known = min((n for n in (self.too_many, too_many) if n is not None), default=None)
        return replace(self, seconds={**self.seconds, size: seconds}, too_many=known)


def too_many_in(words: str | None) -> int | None:
    """How many did not fit, as a record's provenance says it: `5 side by side, stacked; 10 did not fit into memory`."""
    _, semicolon, rest = (words or "").partition("; ")
    return int(rest.split()[0]) if semicolon and rest.split()[0].isdecimal() else None


def strategy_in(words: str) -> str:
    """How a group shared the device, by the same words."""
    return words.partition("side by side, ")[2].partition(";")[0]


def round_seconds(wall: Wall, steps: Iterable[float]) -> float:
    """One round: networks with as many updates are trained side by side, others before or after them."""
    return sum(updates * wall(replicas) for updates, replicas in Counter(steps).items())


def this_device(device: str = "cpu") -> str:
    """The device that trainings of this process run on, as records name it."""
    return f"cpu: {cpu_name()}" if device == "cpu" else f"{device}: {gpu_name() or 'unknown'}"


def kind(device: str) -> str:
    """`cuda` or `cpu` of a device's name in records."""
    return "cuda" if device.partition(":")[0] == "cuda" else "cpu"


@cache
def flops_per_step(protocol: Protocol) -> float:
    """Operations of one update: forward, and backward at twice its cost, with evaluations in their proportion.

    A multiply-add counts as two operations.
    """
    evaluation, test_examples = protocol.evaluation, DATASETS.get(protocol.data.name).test_examples
    evaluated = protocol.data.validation / evaluation.every + test_examples / evaluation.test_every
    return float(protocol.network.multiply_adds * (6 * protocol.recipe.batch_size + 2 * evaluated))


def assumed(protocol: Protocol, device: str, replicas: int = 1) -> float:
    """Seconds of an update where nothing was measured: a GPU is idle until its replica group gives it enough to do."""
    if not protocol.trains:
        return 0.0
    if kind(device) == "cpu":
        portable = protocol.recipe.arithmetic == "portable"
        return replicas * flops_per_step(protocol) / (PORTABLE_FLOPS_PER_SECOND if portable else FLOPS_PER_SECOND)
    least = GPU_SECONDS_PER_LAYER * len(protocol.pruning.prunable)
    return max(least, replicas * flops_per_step(protocol) / GPU_FLOPS_PER_SECOND)


def replicas_in(words: str | None) -> int:
    """How many were trained side by side, as a record's provenance says it: `5 side by side, stacked`."""
    return int(words.split()[0]) if words else 1


def training_work(protocol: Protocol) -> float:
    """Operations of one whole training; 0 where nothing is trained. Orders protocols alike on every machine."""
    return protocol.recipe.steps * flops_per_step(protocol) if protocol.examined.trains else 0.0


def training_seconds(cost: CostFacts, device: str) -> float:
    """Of a training: on a core, those that it had of it; others may have had the rest of the time."""
    own = cost.train_cpu_seconds if kind(device) == "cpu" else 0.0
    return min(own, cost.train_seconds) if own else cost.train_seconds


def _of_learning(costs: Sequence[CostFacts], device: str) -> list[float]:
    """Seconds of each update of scores, by those records that say what a core gave to it, if there are any."""
    core = [c.mask_train_cpu_seconds / c.mask_train_steps for c in costs if c.mask_train_cpu_seconds]
    if core and kind(device) == "cpu":
        return core
    return [c.mask_train_seconds / c.mask_train_steps for c in costs if c.mask_train_seconds]


@dataclass(frozen=True)
class Error:
    """How far predictions were off, as a fraction of what was measured: middle and 90th percentile of `count`."""

    count: int
    middle: float
    ninetieth: float


@dataclass(frozen=True)
class _Update:
    """Of a record: the size of its replica group, the density it was trained at, seconds of the whole group."""

    replicas: int
    density: float
    seconds: float


def _density(protocol: Protocol, record: Record) -> float:
    return density_of(protocol, record.method.name, record.cell.level) if protocol.trains else 1.0


def _saving(protocol: Protocol, device: str, updates: Sequence[_Update]) -> Saving:
    expected = expected_saving(protocol)
    if kind(device) != "cpu" or expected == NOTHING:
        return NOTHING
    seen: defaultdict[float, list[float]] = defaultdict(list)
    for each in updates:
        seen[each.density].append(each.seconds / each.replicas)
    return fitted(seen)


def _of_dense_networks(updates: Sequence[_Update], saving: Saving) -> Seen:
    """Seconds by the size of the group, in order, as they would have been with all weights."""
    speeds: defaultdict[int, list[float]] = defaultdict(list)
    for each in updates:
        speeds[each.replicas].append(each.seconds / saving.at(each.density))
    return {replicas: tuple(sorted(seconds)) for replicas, seconds in speeds.items()}


@dataclass(frozen=True)
class CostModel:
    """Learned from records: seconds per update of (protocol key, device) by size of the replica group.

    `savings`: what pruned weights save of it, by (protocol key, device). `learning`: the same of updates that learn a
    mask, which may take many times as long; one replica's share. `factors`: how many times as long as assumed a device
    takes. `too_many`: the fewest networks that did not fit into its memory.
    """

    speeds: Mapping[tuple[str, str], Seen] = field(default_factory=dict)
    savings: Mapping[tuple[str, str], Saving] = field(default_factory=dict)
    learning: Mapping[tuple[str, str], Sequence[float]] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    too_many: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @staticmethod
    def learn(records: Mapping[Protocol, Iterable[Record]]) -> CostModel:
        """From the records of any number of protocols. On a GPU those of another strategy than today's say nothing."""
        too_many: dict[tuple[str, str], int] = {}
        updates: defaultdict[tuple[str, str], list[_Update]] = defaultdict(list)
        learning: defaultdict[tuple[str, str], list[CostFacts]] = defaultdict(list)
        for protocol, found in records.items():
            for record in found:
                words, place = record.provenance.replica_group, (protocol.key, record.provenance.device)
                if words and kind(place[1]) == "cuda" and strategy_in(words) != protocol.network.cuda_strategy:
                    continue
                if (many := too_many_in(words)) is not None:
                    too_many[place] = min(many, too_many.get(place, many))
                cost = record.cost
                if cost and cost.train_steps:
                    replicas = replicas_in(words)  # each record has its share of the seconds
                    took = replicas * training_seconds(cost, place[1]) / cost.train_steps
                    updates[place].append(_Update(replicas, _density(protocol, record), took))
                if cost and cost.mask_train_steps and cost.mask_train_seconds:
                    learning[place].append(cost)
        known = {protocol.key: protocol for protocol in records}
        savings = {place: _saving(known[place[0]], place[1], found) for place, found in updates.items()}
        speeds = {place: _of_dense_networks(found, savings[place]) for place, found in updates.items()}
        factors: defaultdict[str, list[float]] = defaultdict(list)
        for (key, device), sizes in speeds.items():
            if known[key].trains:
                found_here = [median(v) / assumed(known[key], device, n) for n, v in sizes.items()]
                factors[device].append(median(found_here))
        return CostModel(
            speeds,
            savings,
            {place: _of_learning(costs, place[1]) for place, costs in learning.items()},
            {device: median(values) for device, values in factors.items() if median(values) > 0},
            too_many,
        )

    def seconds_per_step(self, protocol: Protocol, device: str | None = None, replicas: int = 1) -> float:
        """Of a whole replica group of dense networks: measured on this device; else on one of its kind, corrected by
        what both do; else from operations. A size that was not measured is expected from the one nearest to it."""
        device = device or this_device()
        guess = assumed(protocol, device, replicas)
        if own := self.speeds.get((protocol.key, device)):
            return _corrected(protocol, device, own, replicas)
        here = self.factors.get(device)
        elsewhere = [
            _corrected(protocol, other, sizes, replicas) * ((here or self.factors[other]) / self.factors[other])
            for (key, other), sizes in self.speeds.items()
            if key == protocol.key and kind(other) == kind(device) and other in self.factors
        ]  # fmt: skip
        return median(elsewhere) if elsewhere else guess * self.factors.get(device, 1.0)

    def saving(self, protocol: Protocol, device: str | None = None) -> Saving:
        """What pruned weights save: measured on this device, else on another of its kind, else as is usual."""
        device = device or this_device()
        if kind(device) != "cpu":
            return NOTHING
        here = self.savings.get((protocol.key, device))
        others = (each for (key, d), each in self.savings.items() if key == protocol.key and kind(d) == "cpu")
        return here or next(others, expected_saving(protocol))

    def learning_seconds_per_step(self, protocol: Protocol, device: str | None = None) -> float:
        """Of a mask that is learned: measured on this device, else on others of its kind, else as weights take."""
        device = device or this_device()
        found = self.learning.get((protocol.key, device)) or [
            seconds
            for (key, other), each in self.learning.items()
            if key == protocol.key and kind(other) == kind(device)
            for seconds in each
        ]
        return median(found) if found else self.share(protocol, device)

    def wall(self, protocol: Protocol, device: str | None = None) -> Wall:
        """The same as a function of the size of the replica group."""
        known: dict[int, float] = {}

        def seconds(replicas: int) -> float:
            if replicas not in known:
                known[replicas] = self.seconds_per_step(protocol, device, replicas)
            return known[replicas]

        return seconds

    def share(self, protocol: Protocol, device: str | None = None) -> float:
        """What an update of one dense network takes of the device, in a replica group of the size it is given there."""
        wall = self.wall(protocol, device)
        width = self.widths(protocol, device).width if kind(device or this_device()) == "cuda" else 1
        return wall(width) / width

    def widths(self, protocol: Protocol, device: str | None = None) -> Widths:
        """What is known of how many networks to train side by side on a GPU."""
        place = (protocol.key, device or this_device("cuda"))
        seconds = {size: median(values) for size, values in self.speeds.get(place, {}).items()}
        first = side_by_side(lambda n: assumed(protocol, place[1], n))
        return Widths(seconds, first, self.too_many.get(place))

    def error(self, protocol: Protocol, device: str | None = None) -> Error | None:
        """Each record of a device predicted from its others in groups of that size; None where there are no two."""
        off = []
        for values in self.speeds.get((protocol.key, device or this_device()), {}).values():
            if len(values) > 1:
                off += [abs(_median_without(values, n) - value) / value for n, value in enumerate(values) if value]
        off.sort()
        return Error(len(off), median(off), off[int(0.9 * (len(off) - 1))]) if off else None


def side_by_side(wall: Wall) -> int:
    """The fewest networks side by side that give nine tenths of what a device can do: a larger group only ends later,
    and loses more if it is killed."""
    best = max((n / wall(n) for n in range(1, MOST + 1) if wall(n)), default=1.0)
    return next((n for n in range(1, MOST + 1) if not wall(n) or n / wall(n) >= NEARLY * best), MOST)


def nearly_free(wall: Wall) -> int:
    """Up to how many networks cost a device at most a tenth more than one."""
    return max(n for n in range(1, MOST + 1) if wall(n) <= 1.1 * wall(1))


def _corrected(protocol: Protocol, device: str, seen: Seen, replicas: int) -> float:
    near = min(seen, key=lambda size: (abs(log(size / replicas)), size))
    guess, there = assumed(protocol, device, replicas), assumed(protocol, device, near)
    return median(seen[near]) * (guess / there if there else 1.0)


def _median_without(values: Sequence[float], left_out: int) -> float:
    """The median of sorted values but one."""
    rest = len(values) - 1

    def at(place: int) -> float:
        return values[place if place < left_out else place + 1]

    return at(rest // 2) if rest % 2 else (at(rest // 2 - 1) + at(rest // 2)) / 2


class Throughput:
    """Of one protocol in one process. Nothing is known at first if no model is given.

    `widths`: on a GPU, how many are trained side by side; it grows with what is measured. `saving`: what pruned
    weights save; updates are counted here as so many of a dense network.
    """

    def __init__(self, expected: Wall | None = None, widths: Widths | None = None, saving: Saving = NOTHING) -> None:
        self.widths, self.saving = widths, saving
        self._expected: Wall = expected if expected and expected(1) > 0 else float
        # The median of a few runs: one that was held up by a busy machine must not end the budget early.
        self._ratios = deque([1.0 if self._expected is expected else 0.0], maxlen=5)

    def dense_updates(self, protocol: Protocol, cell: Cell, steps: int) -> float:
        """How many updates of the dense network take as long as so many of a cell's."""
        return steps * self.saving.at(density_of(protocol, cell.method, cell.level))

    def measured(self, replicas: int, seconds_per_step: float, too_many: int | None = None) -> None:
        """A training of a replica group took so long for each update; `too_many` did not fit before."""
        if self.widths is not None:
            self.widths = self.widths.measured(replicas, seconds_per_step, too_many)
        self._ratios.append(seconds_per_step / self._expected(replicas))

    def seconds(self, steps: Sequence[float]) -> float:
        """Of trainings side by side, with so many updates each."""
        return median(self._ratios) * round_seconds(self._expected, steps)
