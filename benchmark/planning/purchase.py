"""Which verdicts a budget should buy: how likely so many seeds are to decide each open claim, and what they cost.

The chance is simulated. Missing runs are imagined from those that are there, of this version of a protocol or of an
earlier one, and the claims are decided by their own rules on what was measured and imagined together. A cell's mean is
drawn around the mean of its runs, as uncertain as these leave it, and each run around that, with the spread from run to
run that all cells of the protocol show; masks are drawn from the masks that are there. A claim of which some cell has
fewer than two runs is not simulated. It is given the share of those claims, on trainings or on masks alone as this one,
whose planned runs are all made, that were decided by as many looks. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from random import Random
from statistics import fmean, variance
from typing import Literal

from benchmark.claims import papers
from benchmark.claims.evidence import UNDECIDED
from benchmark.claims.observations import Observations
from benchmark.claims.published import Claim, Published
from benchmark.claims.verdicts import Decision, decide_paper
from benchmark.planning.cost import CostModel, this_device
from benchmark.planning.plan import expected_seconds
from benchmark.planning.priority import Wanted, cells_needed
from benchmark.protocols import Protocol, load_earlier
from benchmark.protocols.cells import Cell
from benchmark.records.schema import CellRef, Measured, Record
from benchmark.records.store import Store

DRAWS = 20
FEWEST = 2  # runs of a cell that others are imagined from
UNPLANNED_LOOKS = (3, 5, 8, 10)  # where a protocol plans none
Basis = Literal["simulated", "base rate"]
Place = tuple[str, Cell]
"""A cell of the protocol with this key."""
Progress = Callable[[str, int, int], None]
BaseRate = Callable[[bool, int], float]


@dataclass(frozen=True)
class Offer:
    """A claim with the seeds that should decide it.

    `chance`: that it is decided then. `cells`: what is missing for it, shared with other offers.
    """

    claim: str
    paper: str
    protocol: str
    seeds: int
    chance: float
    basis: Basis
    cells: frozenset[Place]


@dataclass(frozen=True)
class Purchase:
    """An offer taken. `seconds`: of one core or GPU, for those cells that no purchase before it pays for."""

    offer: Offer
    seconds: float
    cells: tuple[Place, ...]


@dataclass(frozen=True)
class Purchases:
    """What a budget buys, in the order in which it is measured. `open_claims`: how many are undecided now."""

    taken: tuple[Purchase, ...]
    open_claims: int

    @property
    def expected(self) -> float:
        """Verdicts to be expected: of each claim the best chance that was bought."""
        best: dict[str, float] = {}
        for each in self.taken:
            best[each.offer.claim] = max(best.get(each.offer.claim, 0.0), each.offer.chance)
        return math.fsum(best.values())

    @property
    def seconds(self) -> float:
        """Of one core or GPU, for all."""
        return math.fsum(each.seconds for each in self.taken)

    @property
    def wanted(self) -> Wanted:
        """The cells in that order, and no others."""
        tiers = {cell: (0, place) for place, each in reversed(list(enumerate(self.taken))) for cell in each.cells}
        return Wanted(tiers, only=True)


def purchases(
    seen: Mapping[str, Observations],
    store: Store,
    seconds: float | None,
    device: str = "cpu",
    progress: Progress = lambda *_: None,
) -> Purchases:
    """What so many seconds of one core, or of this machine's GPU, should buy; None: everything that has a price.

    `seen`: of each protocol by id. Verdicts are bought in the order of their price, seconds for each expected verdict,
    as far as the budget pays. Deterministic: the same records give the same list.
    """
    market = Market(seen, store, device)
    found = market.offers(progress)
    return Purchases(tuple(market.buy(found, math.inf if seconds is None else seconds)), market.open_claims)


class Market:
    """The open claims of some protocols, and what it costs to measure for them."""

    def __init__(self, seen: Mapping[str, Observations], store: Store, device: str = "cpu") -> None:
        self._seen = seen
        self._known = {name: observations.protocol for name, observations in seen.items()}
        records = {self._known[name]: observations.every_record for name, observations in seen.items()}
        costs, place = CostModel.learn(records), this_device(device)
        self._costs = {p.key: expected_seconds(p, own, costs, place) for p, own in records.items()}
        self._donors = {p.key: Donors(p, [*own, *_earlier(p, store)]) for p, own in records.items()}
        self._price: dict[Place, float] = {}
        self.open_claims = 0

    def offers(self, progress: Progress = lambda *_: None) -> list[Offer]:
        """Every open claim at every number of seeds that it has not got yet and a look is planned at."""
        found: list[Offer] = []
        published = [paper for paper in papers.all_as_written() if self._claims(paper)]
        now = {paper.paper.key: decide_paper(paper, self._seen) for paper in published}
        base = self._base_rates(published, [decision for each in now.values() for decision in each])
        for done, paper in enumerate(published):
            progress("claims simulated", done, len(published))
            decisions = {decision.claim: decision for decision in now[paper.paper.key]}
            open_ = [c for c in self._claims(paper) if decisions[c.id].verdict in UNDECIDED]
            self.open_claims += len(open_)
            for look in range(self._looks(open_)):
                found += self._at_look(paper, open_, look, base)
        progress("claims simulated", len(published), len(published))
        return found

    def buy(self, offers: Sequence[Offer], seconds: float) -> list[Purchase]:
        """What is worth most for its price, one after another, each by what it adds to what is bought already.

        Claims share networks: with each offer go all that need no other cells, and all of one protocol at one number
        of seeds are for sale together as well.
        """
        together: dict[tuple[str, int], list[Offer]] = {}
        for offer in offers:
            together.setdefault((offer.protocol, offer.seeds), []).append(offer)
        lots = [[each for each in offers if each.cells <= offer.cells] for offer in offers] + list(together.values())
        left, paid, chances, taken = seconds, set[Place](), dict[str, float](), list[Purchase]()
        while lots := [lot for lot in lots if _gain(lot, chances) > 0]:
            costs = [self._seconds(frozenset().union(*(offer.cells for offer in lot)) - paid) for lot in lots]
            prices = [(cost / _gain(lot, chances), n) for n, (lot, cost) in enumerate(zip(lots, costs, strict=True))]
            affordable = [(price, n) for price, n in prices if costs[n] <= left]
            if not affordable:
                break
            for offer in sorted(lots[min(affordable)[1]], key=lambda each: self._seconds(each.cells - paid)):
                cells = tuple(sorted(offer.cells - paid))
                if offer.chance > chances.get(offer.claim, 0.0):
                    cost = self._seconds(cells)
                    taken.append(Purchase(offer, cost, cells))
                    left, paid = left - cost, paid | offer.cells
                    chances[offer.claim] = offer.chance
        return taken

    def _claims(self, paper: Published) -> list[Claim]:
        return [claim for claim in paper.claims if claim.cells and claim.cells.keys() <= self._known.keys()]

    def _looks(self, claims: Iterable[Claim]) -> int:
        return max((len(looks(self._known[name])) for claim in claims for name in claim.cells), default=0)

    def _at_look(self, paper: Published, claims: Sequence[Claim], look: int, base: BaseRate) -> list[Offer]:
        """What is offered with every protocol measured up to its look of this number, or its last."""
        upto = {name: _seeds_at(protocol, look) for name, protocol in self._known.items()}
        missing = {claim.id: self._missing(claim, upto) for claim in claims}
        asked = [claim for claim in claims if missing[claim.id] and look < self._looks([claim])]
        able = {claim.id for claim in asked if all(self._donors[key].suffices(cell) for key, cell in missing[claim.id])}
        chances = self._chances(paper, able, frozenset().union(*(missing[name] for name in able))) if able else {}
        return [
            Offer(
                claim=claim.id,
                paper=paper.paper.key,
                protocol=claim.protocol,
                seeds=upto[claim.protocol],
                chance=chances[claim.id] if claim.id in able else base(self._known[claim.protocol].trains, look),
                basis="simulated" if claim.id in able else "base rate",
                cells=missing[claim.id],
            )
            for claim in asked
        ]

    def _base_rates(self, published: Sequence[Published], now: Iterable[Decision]) -> BaseRate:
        """Whether networks are trained, and look -> the share, by Laplace's rule, of such claims with all runs made
        that are decided by the seeds of that look.
        """
        over = {decision.claim for decision in now if decision.cells and not decision.runs_missing}

        @cache
        def at_look(look: int) -> list[Decision]:
            upto = {name: seen.at_look(_seeds_at(seen.protocol, look)) for name, seen in self._seen.items()}
            return [d for paper in published for d in decide_paper(paper, upto, lambda claim: claim.id in over)]

        def share(trains: bool, look: int) -> float:
            decided = [d.verdict not in UNDECIDED for d in at_look(look) if self._known[d.protocol].trains == trains]
            return (sum(decided) + 1) / (len(decided) + 2)

        return share

    def _missing(self, claim: Claim, upto: Mapping[str, int]) -> frozenset[Place]:
        """Cells without a record that the claim rests on, of the first seeds of each protocol."""
        return frozenset(
            (protocol.key, cell)
            for protocol in (self._known[name] for name in claim.cells)
            for cell in cells_needed(claim, protocol)
            if protocol.seed_positions[cell.seed] < upto[protocol.id] and not self._seen[protocol.id].has(cell)
        )

    def _chances(self, paper: Published, claims: Iterable[str], cells: Iterable[Place]) -> dict[str, float]:
        """How often each claim is decided with these cells imagined."""
        wanted: dict[str, list[Cell]] = {}
        for key, cell in sorted(cells):
            wanted.setdefault(key, []).append(cell)
        decided = dict.fromkeys(claims, 0)
        for draw in range(DRAWS):
            world = dict(self._seen)
            for name, protocol in self._known.items():
                if protocol.key in wanted:
                    record = self._donors[protocol.key].world(Random(draw))
                    imagined = [record(cell) for cell in wanted[protocol.key]]
                    world[name] = Observations(self._seen[name].protocol, [*self._seen[name].every_record, *imagined])
            for decision in decide_paper(paper, world, lambda claim: claim.id in decided):
                decided[decision.claim] += decision.verdict not in UNDECIDED
        return {claim: count / DRAWS for claim, count in decided.items()}

    def _seconds(self, cells: Iterable[Place]) -> float:
        for place in cells:
            if place not in self._price:
                self._price[place] = self._costs[place[0]]([place[1]])
        return math.fsum(self._price[place] for place in cells)


def looks(protocol: Protocol) -> tuple[int, ...]:
    """Numbers of seeds at which claims are decided: those of the plan, else a few up to all of the protocol's."""
    if protocol.statistics.looks:
        return tuple(look.seeds for look in protocol.statistics.looks)
    count = len(protocol.seeds)
    return (*(seeds for seeds in UNPLANNED_LOOKS if seeds < count), count)


def _seeds_at(protocol: Protocol, look: int) -> int:
    planned = looks(protocol)
    return planned[min(look, len(planned) - 1)]


def _gain(lot: Iterable[Offer], chances: Mapping[str, float]) -> float:
    """Verdicts to be expected beyond those that are."""
    return math.fsum(max(0.0, offer.chance - chances.get(offer.claim, 0.0)) for offer in lot)


def _earlier(protocol: Protocol, store: Store) -> list[Record]:
    """Records of the other versions of a protocol, at levels that are the same there."""
    found: list[Record] = []
    for other in load_earlier():
        if other.id == protocol.id and other.key != protocol.key and other.trains == protocol.trains:
            table = [level.density for level in protocol.level_table]
            same = {level.index for level in other.level_table if level.density in table[level.index : level.index + 1]}
            found += [record for record in store.records(other) if record.cell.level in same]
    return found


class Donors:
    """The finished runs of a protocol that others are imagined from, by method and level."""

    def __init__(self, protocol: Protocol, records: Iterable[Record]) -> None:
        self._protocol = protocol
        self._by_point: dict[tuple[str, int], list[Record]] = {}
        for record in records:
            if record.status == "finished":
                self._by_point.setdefault((record.method.name, record.cell.level), []).append(record)

    def suffices(self, cell: Cell) -> bool:
        """Whether runs like that cell can be imagined."""
        return len(self._by_point.get((cell.method, cell.level), ())) >= FEWEST

    @cached_property
    def _values(self) -> Mapping[tuple[str, int], Mapping[str, Sequence[float]]]:
        return {point: _numbers(group, self._protocol) for point, group in self._by_point.items()}

    @cached_property
    def _spread(self) -> Mapping[str, float]:
        """Standard deviation from run to run of each number, pooled over all cells."""
        variances: dict[str, list[tuple[float, int]]] = {}
        for numbers in self._values.values():
            for name, values in numbers.items():
                if len(values) >= FEWEST:
                    variances.setdefault(name, []).append((variance(values), len(values) - 1))
        return {
            name: math.sqrt(sum(v * n for v, n in each) / sum(n for _, n in each)) for name, each in variances.items()
        }

    def world(self, rng: Random) -> Callable[[Cell], Record]:
        """A population: gives the record of any cell, around means that are drawn once for the whole world."""
        means: dict[tuple[str, int, str], float] = {}

        def mean(point: tuple[str, int], name: str, values: Sequence[float]) -> float:
            key = (*point, name)
            if key not in means:
                means[key] = rng.gauss(fmean(values), self._spread[name] / math.sqrt(len(values)))
            return means[key]

        def record(cell: Cell) -> Record:
            point = (cell.method, cell.level)
            like = rng.choice(self._by_point[point])
            place = CellRef(level=cell.level, density_asked=like.cell.density_asked, seed=cell.seed, draw=cell.draw)
            if like.measured is None:
                return like.model_copy(update={"cell": place})
            drawn = {
                name: rng.gauss(mean(point, name, values), self._spread[name])
                for name, values in self._values[point].items()
            }
            return like.model_copy(update={"cell": place, "measured": _measured(like.measured, drawn, self._protocol)})

        return record


STEP = "early_stop_step"


def _numbers(records: Sequence[Record], protocol: Protocol) -> dict[str, list[float]]:
    """The numbers of trainings, `metric/last` and the like; steps as logarithms, 0 as half an evaluation interval."""
    found: dict[str, list[float]] = {}
    for record in records:
        if record.measured is None:
            continue
        for metric, values in record.measured.metrics.items():
            for at in ("last", "best", "early_stop"):
                if (value := getattr(values, at)) is not None:
                    found.setdefault(f"{metric}/{at}", []).append(value)
        if record.measured.early_stop_step is not None:
            step = max(record.measured.early_stop_step, protocol.evaluation.every / 2)
            found.setdefault(STEP, []).append(math.log(step))
    return found


def _measured(like: Measured, drawn: Mapping[str, float], protocol: Protocol) -> Measured:
    metrics = {}
    for metric, values in like.metrics.items():
        percent = values.unit == "percent"
        given = {
            at: min(100.0, max(0.0, round(drawn[f"{metric}/{at}"], 2))) if percent else drawn[f"{metric}/{at}"]
            for at in ("last", "best", "early_stop")
            if f"{metric}/{at}" in drawn
        }
        metrics[metric] = values.model_copy(update=given)
    every = protocol.evaluation.every
    step = max(1, round(math.exp(drawn[STEP]) / every)) * every if STEP in drawn else None
    return like.model_copy(update={"metrics": metrics, "early_stop_step": step})
